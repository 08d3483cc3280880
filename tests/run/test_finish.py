"""The last steps of a run, after training: killed at any of them and resumed, each is done once."""

from collections import Counter
from types import SimpleNamespace

import mlflow as real
import pytest
from click.testing import CliRunner
from mlflow.exceptions import MlflowException

from idc_run.cli import champion
from idc_run.console import Console
from idc_run.spec import load_spec
from idc_run.tracking import artifacts, registry
from idc_run.tracking.champion import versions
from idc_run.tracking.mlflow_tracker import MlflowTracker
from idc_run.tracking.store import connect
from idc_run.training import experiment
from idc_run.training.role import Alone

pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")
POINTS = [
    (artifacts, "ceiling_of"),
    (artifacts, "log_results"),
    (registry, "_log"),
    (registry, "_ensure"),
    (real.MlflowClient, "create_model_version"),
    (real.MlflowClient, "set_model_version_tag"),
    (real.MlflowClient, "set_registered_model_alias"),
    (MlflowTracker, "end"),
]


class Killed(BaseException):
    """The process ends here."""


def dies_after(function):
    def wrapped(*arguments, **keywords):
        function(*arguments, **keywords)
        raise Killed

    return wrapped


@pytest.mark.slow
def test_a_run_killed_at_any_of_its_last_steps_and_resumed_does_each_once(registered, monkeypatch):
    monkeypatch.chdir(registered.folder)
    spec = load_spec(registered.spec_file, ["tracking=mlflow", "register=killed", "seed=31", "train.epochs=1"])
    for number, (owner, name) in enumerate(POINTS):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(owner, name, dies_after(getattr(owner, name)))
            experiment.run(spec, Console(quiet=True), Alone(resume=number > 0))
        if real.active_run():
            real.end_run()
    result = experiment.run(spec, Console(quiet=True), Alone(resume=True))
    client = connect().MlflowClient()
    run = client.get_run(result.run_id)
    assert run.info.status == "FINISHED" and "failure" not in run.data.tags
    versions = client.search_model_versions("name = 'killed'")
    assert [(version.version, version.run_id) for version in versions] == [(versions[0].version, result.run_id)]
    assert versions[0].tags["score"] == repr(result.best) and "champion.from" in versions[0].tags
    assert client.get_registered_model("killed").aliases == {"champion": versions[0].version}
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{result.run_id}'")
    assert [model.status for model in models] == ["READY"]
    names = [name for name in run.data.metrics if not name.startswith("system/")]
    points = {name: Counter(point.step for point in client.get_metric_history(result.run_id, name)) for name in names}
    assert set(points) > {"test/cider", "val/cider", "train/loss"}
    assert {name: each for name, each in points.items() if max(each.values()) > 1} == {}
    with pytest.raises(ValueError, match="nothing to resume"):
        experiment.run(spec, Console(quiet=True), Alone(resume=True))


def test_a_run_that_fails_says_why(registered, monkeypatch):
    monkeypatch.chdir(registered.folder)
    with pytest.raises(ValueError, match="the training loss became"):
        experiment.run(
            load_spec(registered.spec_file, ["tracking=mlflow", "name=failing", "train.optimizer.lr=1e30"]),
            Console(quiet=True),
        )
    (run,) = connect().search_runs(
        search_all_experiments=True, filter_string="attributes.status = 'FAILED' and params.name = 'failing'",
        output_format="list",
    )  # fmt: skip
    assert run.data.tags["failure"].startswith("ValueError: the training loss became")


def test_a_run_that_fails_before_it_kept_anything_leaves_no_folders(spec, tmp_path):
    with pytest.raises(ValueError, match="the training loss became"):
        experiment.run(spec("train.optimizer.lr=1e30", "train.checkpoint_every=1000"), Console(quiet=True))
    assert [each.name for each in tmp_path.iterdir()] == ["tiny.yaml"]


def test_versions_are_listed_and_promoted(registered, monkeypatch):
    monkeypatch.chdir(registered.folder)
    client = connect().MlflowClient()
    first = client.get_model_version_by_alias("idc", "champion")
    source = (first.source, first.run_id)
    second = client.create_model_version("idc", *source)

    def said(*words):
        ended = CliRunner().invoke(champion, [*words])
        return ended.exit_code, ended.output

    try:
        assert said()[1].splitlines().count("idc") == 1
        code, listed = said("idc")
        lines = {line.split()[0]: line for line in listed.splitlines()}
        assert code == 0 and lines[f"models:/idc/{first.version}"].endswith("champion")
        assert f" {100 * float(first.tags['score']):.1f} cider" in lines[f"models:/idc/{first.version}"]
        assert not lines[f"models:/idc/{second.version}"].endswith("champion")
        code, told = said("idc", str(second.version))
        assert code == 0 and told.startswith(
            f"models:/idc@champion is now version {second.version} (it was {first.version})"
        )
        assert client.get_model_version_by_alias("idc", "champion").version == second.version
        assert said("idc", "99")[1].startswith("error: idc has no version '99'; expected one of: ")
        assert said("ibc")[1].startswith("error: no registered model 'ibc'; there are: ")
    finally:
        client.set_registered_model_alias("idc", "champion", first.version)
        client.delete_model_version("idc", second.version)


@pytest.mark.parametrize(
    ("code", "expected", "message"),
    [(404, ValueError, "no registered model 'idc'"), (403, MlflowException, "not yours")],
)
def test_only_a_model_that_is_missing_is_said_to_be_missing(monkeypatch, code, expected, message):
    class Refusing:
        def get_registered_model(self, name):
            error = MlflowException("not yours" if code == 403 else "gone")
            error.get_http_status_code = lambda: code
            raise error

        def search_registered_models(self):
            return []

    fake = SimpleNamespace(MlflowClient=Refusing, exceptions=SimpleNamespace(MlflowException=MlflowException))
    monkeypatch.setattr("idc_run.tracking.champion.look_into", lambda: fake)
    with pytest.raises(expected, match=message):
        versions("idc")
