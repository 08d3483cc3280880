"""People's judgements of a run's captions come back to MLflow."""

import json

import pytest
from click.testing import CliRunner
from idc_eval.cli import main as idc_eval
from idc_eval.rating.store import Judgement, Ratings

from idc_run.tracking.store import connect

pytestmark = pytest.mark.filterwarnings("ignore:::mlflow", "ignore:::opentelemetry")


def test_ratings_go_to_mlflow_and_to_the_run_they_are_about(registered, monkeypatch, tmp_path):
    monkeypatch.chdir(registered.folder)
    ratings, run_id = tmp_path / "study.db", registered.result.run_id
    command = ["rate", run_id, "--out", str(ratings), "--html", str(tmp_path / "page.html"), "--checks", "0"]
    ended = CliRunner().invoke(idc_eval, command)
    assert ended.exit_code == 0, ended.output
    with Ratings(ratings) as study:
        study.add(
            Judgement(rater=rater, item=item, question=question, value=value, time=1_700_000_000_000 + number)
            for rater, shift in (("ann", 0), ("ben", 1))
            for number, item in enumerate(sorted(study.items))
            for question in study.questions
            for value in [1 + (number + shift) % 5]
        )
        captions = len(study.items)
    ended = CliRunner().invoke(idc_eval, ["agreement", str(ratings), "--metrics", "rouge-l", "--tracking"])
    assert ended.exit_code == 0, ended.output
    assert "logged to MLflow" in ended.output and "and the runs of" in ended.output

    mlflow = connect()
    (kept,) = mlflow.search_runs(experiment_names=["human rating"], output_format="list")
    assert kept.data.metrics["human/raters"] == 2 and kept.data.params["mode"] == "scale"
    uri = kept.info.artifact_uri
    table = json.loads(mlflow.artifacts.load_text(f"{uri}/assessments.json"))
    assert len(table["data"]) == 2 * 3 * captions
    assert "study.db" in {file.path for file in mlflow.MlflowClient().list_artifacts(kept.info.run_id)}
    # What people said stands beside the scores of the run that wrote the captions.
    assert mlflow.get_run(run_id).data.metrics["human/correctness"] == kept.data.metrics["human/correctness"]
    traces = mlflow.search_traces(locations=[kept.info.experiment_id], return_type="list")
    assert len(traces) == captions
    said = [each for each in traces[0].info.assessments if each.name == "correctness"]
    assert {each.source.source_id for each in said} == {"ann", "ben"}
    assert {each.source.source_type for each in said} == {"HUMAN"}
