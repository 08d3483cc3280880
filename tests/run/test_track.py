import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from idc_eval.cli import main as idc_eval

from idc_run.checkpoint import load_checkpoint
from idc_run.cli import run
from idc_run.console import Console
from idc_run.spec import load_spec
from idc_run.tracking import note, provenance, registry
from idc_run.tracking.champion import Standing
from idc_run.tracking.mlflow_tracker import MlflowTracker, flatten
from idc_run.tracking.provenance import differences
from idc_run.tracking.registry import checkpoint_of
from idc_run.tracking.runs import document, trials
from idc_run.tracking.store import connect, quiet_mlflow, store
from idc_run.tracking.tracker import Tracker
from idc_run.training import experiment
from idc_run.training.role import Alone

# What mlflow itself is warned of, by sqlalchemy and by its own type hints.
pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")

FORBID = """
import sys
class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "mlflow":
            raise AssertionError(f"{name} is imported")
sys.meta_path.insert(0, Refusing())
from idc_run.cli import run
run()
"""


@pytest.fixture
def mlflow(registered, monkeypatch):
    """The mlflow module, pointed at the store of the registered run."""
    monkeypatch.chdir(registered.folder)
    return connect()


def test_the_store_lies_in_mlruns(registered):
    mlruns, link = registered.folder / "mlruns", registered.folder / "mlflow.db"
    assert {path.name for path in registered.folder.iterdir()} == {"tiny.yaml", "mlruns", "mlflow.db"}
    assert {path.name for path in mlruns.iterdir()} == {".lock", "mlflow.db", "artifacts", "checkpoints"}
    assert link.is_symlink() and link.resolve() == (mlruns / "mlflow.db").resolve()
    assert [path.name for path in registered.result.checkpoint.parent.iterdir()] == ["best.safetensors"]


def test_what_only_reads_makes_no_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for read in (lambda: checkpoint_of("models:/idc@champion"), trials, lambda: document("0a1b", "spec")):
        with pytest.raises(ValueError, match="there is no mlruns/ in .* or in a folder above"):
            read()
    assert not [*tmp_path.iterdir()]


def test_the_store_is_that_of_the_nearest_folder_upwards(tmp_path, monkeypatch):
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert store() == tmp_path / "mlruns"
    (tmp_path / "mlruns").rmdir()
    assert store() == tmp_path / "deep" / "er" / "mlruns"


def test_another_database_where_plain_mlflow_looks_is_said_once(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    Path("mlflow.db").write_bytes(b"")
    for _ in range(2):
        connect()
    (said,) = [record.getMessage() for record in caplog.records if record.name == "idc_run.tracking.store"]
    assert str(tmp_path / "mlflow.db") in said and "move it away" in said


@pytest.mark.slow
def test_a_stop_while_the_database_is_made_leaves_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(
            quiet_mlflow().MlflowClient, "search_experiments", lambda *_, **__: signal.raise_signal(signal.SIGINT)
        )
        connect()
    assert not [path for path in (tmp_path / "mlruns").iterdir() if "db" in path.name]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # which MLflow has set
    connect()
    assert (tmp_path / "mlruns/mlflow.db").stat().st_size > 0


@pytest.mark.slow
def test_processes_that_begin_at_once_share_a_new_store(tmp_path):
    begin = (
        "from idc_run.tracking.mlflow_tracker import MlflowTracker; print(MlflowTracker('new', 'test/x').experiment)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", begin], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    told = [process.communicate(timeout=900)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0] and len(set(told)) == 1


def test_the_run_has_parameters_metrics_and_identity(registered, mlflow):
    run = mlflow.get_run(registered.result.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["model.decoder.dropout"] == "0.2"
    assert run.data.params["train.schedule.name"] == "cosine", "a default is written down too"
    assert {name: run.data.metrics[f"test/{name}"] for name in registered.result.test} == registered.result.test
    assert {"train/loss", "val/bleu-4", "val/cider", "test/bleu-1"} <= run.data.metrics.keys()
    assert not [name for name in run.data.metrics if name.startswith("ceiling/")], "they are no curves"
    scores = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/scores.json")
    assert scores["ceiling"]["values"]["cider"] > 0
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "val/cider")
    assert [metric.step for metric in history] == [4, 8]
    assert run.data.tags["protocol"] == "plain"
    datasets = {used.tags[0].value: used.dataset for used in run.inputs.dataset_inputs}
    assert set(datasets) == {"train", "val", "test"} and datasets["val"].name == "scenes"
    assert datasets["val"].digest.endswith("@32px") and len({used.digest for used in datasets.values()}) == 3


def test_run_model_and_version_describe_themselves_to_people(registered, mlflow):
    run, client = mlflow.get_run(registered.result.run_id), mlflow.MlflowClient()
    about = run.data.tags["mlflow.note.content"]
    sizes = {used.tags[0].value for used in run.inputs.dataset_inputs}
    assert about.startswith("**tiny**: ") and re.search(r"\d+ train, \d+ val, \d+ test", about) and len(sizes) == 3
    assert f"| cider | {100 * registered.result.test['cider']:.1f} | " in about, "people read scores x 100"
    assert "| test, x 100 | model | one reference against the others |" in about
    assert f"uv run idc-run --from-run {run.info.run_id}" in about
    version = client.get_model_version("idc", "1").description
    assert version.startswith(about) and "uv run idc-app models:/idc/1" in version
    assert "models:/idc@champion" in client.get_registered_model("idc").description


def test_a_description_tells_the_command_without_its_passwords(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/bin/idc-run", "a.yaml", "-s", "data.dataset=http://me:secret@host/a b"])
    (command,) = note.command()
    assert command.startswith("uv run idc-run a.yaml -s 'data.dataset=") and "secret" not in command


def test_the_run_says_where_it_came_from(registered, mlflow):
    found = mlflow.get_run(registered.result.run_id)
    tags = found.data.tags
    assert tags["seed"] == "3" and tags["group"].startswith("tiny-") and tags["spec"]
    assert tags["plugin.encoder"].startswith("cnn (idc-models ") and tags["dataset"].startswith("scenes ")
    assert re.fullmatch("[0-9a-f]{40}|none", tags["git.commit"]) and tags["git.dirty"] in ("true", "false", "unknown")
    kept = mlflow.artifacts.load_dict(f"{found.info.artifact_uri}/provenance.json")
    assert tags["plugin.objectives"].startswith("caption (idc-models ")
    assert tags["plugin.dataset"].startswith("scenes (idc-data ")
    assert kept["packages"]["torch"] and kept["machine"]["threads"] == kept["machine"]["processes"] == 1
    assert set(kept["code"]) == {
        "commit",
        "dirty",
        *(f"sources of idc_{name}" for name in ("data", "eval", "models", "run")),
    }
    key = mlflow.get_experiment(found.info.experiment_id).tags["mlflow.experiment.primaryMetric.name"]
    assert key in found.data.metrics


@pytest.mark.parametrize(
    ("overrides", "told"), [([], "the same, bit for bit"), (["seed=4"], "different from those of run")]
)
def test_a_run_is_repeated_from_what_mlflow_keeps(registered, mlflow, speaks, overrides, told):
    overrides = [word for override in [*overrides, "register=null"] for word in ("-s", override)]
    done = CliRunner().invoke(run, ["--from-run", registered.result.run_id, *overrides])
    assert done.exit_code == 0, done.output
    for part in ("code", "data", "packages", "plugins", "machine"):
        assert f"{part}: the same\n" in done.output
    assert f"weights: {told}" in done.output
    again = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"tags.repeats = '{registered.result.run_id}'",
        output_format="list",
    )
    assert again[0].data.tags["group"].startswith("tiny-")


def test_what_differs_from_then_is_named():
    then = {
        "code": {"commit": "a1", "dirty": "false"},
        "data": {"val": "x@48px"},
        "packages": {"torch": "2.15", "old": "1"},
    }
    now = {"code": {"commit": "b2", "dirty": "false"}, "data": {"val": "x@48px"}, "packages": {"torch": "2.16"}}
    assert differences(then, now) == {"code": ["commit a1 -> b2"], "packages": ["old 1 -> none", "torch 2.15 -> 2.16"]}


def test_runs_that_name_no_tokenizer_had_the_words():
    then = {"plugins": {"decoder": "gru (idc-models 0.1.0)"}}
    assert differences(then, {"plugins": {**then["plugins"], "tokenizer": "words (idc-data 0.1.0)"}}) == {}
    found = differences(then, {"plugins": {**then["plugins"], "tokenizer": "bpe (idc-data 0.1.0)"}})
    assert found == {"plugins": ["tokenizer words -> bpe (idc-data 0.1.0)"]}


def test_a_run_by_more_processes_comes_from_elsewhere(spec, monkeypatch):
    alone = provenance.collect(spec(), {}, torch.device("cpu"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert differences(alone, provenance.collect(spec(), {}, torch.device("cpu"))) == {"machine": ["processes 1 -> 2"]}


@pytest.mark.parametrize("place", ["{}.py", "{}/inner.py"])
@pytest.mark.parametrize(
    ("tag", "code", "override"),
    [
        ("objectives", "from idc_models.objectives import Caption as Base", "train.objectives={{caption: 1, '{}': 1}}"),
        ("dataset", "from idc_data.scenes import Scenes as Base", "data.dataset={{name: '{}'}}"),
    ],
)
def test_code_of_ones_own_is_known(spec, tmp_path, monkeypatch, place, tag, code, override):
    top = f"my_{tag}_{len(place)}"  # a name of its own: modules stay imported
    file = tmp_path / place.format(top)
    file.parent.mkdir(exist_ok=True)  # without an __init__.py
    file.write_text(f"{code}\nclass Mine(Base): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    name = f"{place.format(top).removesuffix('.py').replace('/', '.')}:Mine"
    mine = spec(override.format(name))
    then = provenance.collect(mine, {"test": "x"}, torch.device("cpu"))
    assert f"{name} (local)" in provenance.tags(mine, then)[f"plugin.{tag}"]
    file.write_text(f"{code}\nclass Mine(Base): changed = True\n")
    found = differences(then, provenance.collect(mine, {"test": "x"}, torch.device("cpu")))
    assert list(found) == ["code"] and found["code"][0].startswith(f"sources of {top} ")


@pytest.mark.slow
def test_that_a_run_went_on_with_other_code_is_told(registered, mlflow, monkeypatch):
    class Impatient(Console):
        def step(self, step, losses):
            if step == 5:
                raise KeyboardInterrupt

    spec = load_spec(registered.spec_file, ["tracking=mlflow", "seed=11", "train.checkpoint_every=2"])
    with pytest.raises(KeyboardInterrupt):
        experiment.run(spec, Impatient(quiet=True))
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "code_state", lambda: {"commit": "other", "dirty": "false"})
        result = experiment.run(spec, Console(quiet=True), Alone(resume=True))
    done = CliRunner().invoke(run, ["--from-run", result.run_id, "--check"])
    assert done.exit_code == 0 and "code: the same\n" in done.output
    assert re.search("^resumed at step 4: code commit .* -> other", done.output, re.M)
    done = CliRunner().invoke(run, ["--from-run", registered.result.run_id, "--check"])
    assert "resumed" not in done.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected exactly one of: a SPEC file"),
        (["tiny.yaml", "--from-run", "x"], "expected exactly one of: a SPEC file"),
        (["--from-run", "x", "--resume"], "give only one"),
        (["--from-run", "0" * 32, "--check"], "MLflow has no run '0000"),
    ],
)
def test_what_to_run_is_said_once(registered, mlflow, words, message):
    done = CliRunner().invoke(run, words)
    assert done.exit_code == 2 and message in done.output and "Traceback" not in done.output


def test_the_run_has_its_artifacts(registered, mlflow):
    listed = mlflow.MlflowClient().list_artifacts(registered.result.run_id)
    assert {item.path for item in listed} >= {
        "spec.json",
        "scores.json",
        "predictions.jsonl",
        "samples.png",
        "learning_curves.png",
        "report.html",
        "curves.json",
        "images",
    }
    uri = mlflow.get_run(registered.result.run_id).info.artifact_uri
    assert uri.startswith((registered.folder / "mlruns" / "artifacts").as_uri())
    spec = json.loads(mlflow.artifacts.load_text(f"{uri}/spec.json"))
    assert spec == load_checkpoint(registered.result.checkpoint).spec.completed()
    assert len(mlflow.artifacts.load_text(f"{uri}/predictions.jsonl").splitlines()) == 4


def test_idc_eval_reads_runs(registered, mlflow, tmp_path):
    run = registered.result.run_id
    for given in (run, f"runs:/{run}"):
        ended = CliRunner().invoke(idc_eval, ["score", given, "--metrics", "rouge-l", "--json"])
        assert json.loads(ended.stdout)["n"] == 4, ended.output
    page = tmp_path / "page.html"
    ended = CliRunner().invoke(idc_eval, ["report", run, "--metrics", "rouge-l,cider", "--out", str(page)])
    assert ended.exit_code == 0 and not ended.stderr, ended.output
    text = page.read_text()
    assert "val/cider" in text and text.count("data:image/webp;base64,") == 8
    ended = CliRunner().invoke(idc_eval, ["compare", run, run, "--metrics", "rouge-l", "--draws", "100", "--json"])
    assert json.loads(ended.stdout)["metrics"][0]["p"] == 1
    ended = CliRunner().invoke(idc_eval, ["report", "0" * 32])
    assert ended.exit_code == 2 and "MLflow has no run" in ended.stderr and "Traceback" not in ended.output


def test_no_pickle_is_logged(registered):
    logged = [path for path in (registered.folder / "mlruns" / "artifacts").rglob("*") if path.is_file()]
    assert any(path.name == "best.safetensors" for path in logged)
    assert not [path for path in logged if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin")]


def test_the_champion_moves_only_for_a_better_score_on_the_same_terms(registered, mlflow):
    client = mlflow.MlflowClient()
    first = client.get_model_version_by_alias("idc", "champion")
    score = float(first.tags["score"])
    same = {key: first.tags[key] for key in ("metric", "protocol", "data")}
    assert same["metric"] == "val/cider"
    assert score == load_checkpoint(registered.result.checkpoint).progress["best"]

    def champion_after(**standing):
        tracker = MlflowTracker("champions")
        tracker.begin("contender", {}, {}, {})
        version, note = registry.register(registered.result.checkpoint, "idc", Standing(**standing))
        tracker.end()
        return version, str(client.get_model_version_by_alias("idc", "champion").version), note

    for terms, value in (
        (same, score - 0.1),
        (same, score),
        (same | {"metric": "val/bleu-4"}, score + 1),
        (same | {"protocol": "other"}, score + 1),
        (same | {"data": "0123@32px"}, score + 1),
    ):
        version, champion, note = champion_after(**terms, value=value)
        assert version != champion == str(first.version) and note.startswith(
            f"champion stays version {first.version}: "
        )
    version, champion, note = champion_after(**same, value=score + 0.1)
    assert version == champion != str(first.version) and note.startswith(f"champion is now version {version}: ")
    old, new = (client.get_model_version("idc", each).tags for each in (str(first.version), version))
    assert old["champion.from"] <= old["champion.until"] == new["champion.from"] and "champion.until" not in new
    for value in (score, score + 0.1):
        assert f" {100 * value:.1f}" in note
    version, champion, _ = champion_after(**same, value=score + 0.05)
    assert version != champion, "the new one is the one to beat"


def test_a_checkpoint_is_found_by_its_registered_name(registered, mlflow):
    found = registry.checkpoint_of("models:/idc@champion")
    assert found.read_bytes() == registered.result.checkpoint.read_bytes()
    with pytest.raises(ValueError, match="no registered model 'models:/idc@loser'"):
        registry.checkpoint_of("models:/idc@loser")


def test_a_registered_model_of_another_kind_is_told(registered, mlflow, tmp_path):
    (tmp_path / "MLmodel").write_text("flavors: {}\n")
    client = mlflow.MlflowClient()
    client.create_registered_model("other")
    client.create_model_version("other", str(tmp_path))
    with pytest.raises(ValueError, match="'models:/other/1'.*no checkpoint.*idc-run"):
        registry.checkpoint_of("models:/other/1")


@pytest.mark.slow
def test_without_tracking_mlflow_is_not_imported(tiny):
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    ended = subprocess.run(
        [sys.executable, "-c", FORBID, tiny.name, "-s", "train.epochs=1", "-s", "register=idc"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert ended.returncode == 0, ended.stderr
    assert "tiny: test, 4 pairs, protocol plain" in ended.stdout and ended.stderr == ""
    assert [path.name for path in (tiny.parent / "mlruns").iterdir()] == ["checkpoints"]


def test_the_null_tracker_keeps_a_resumed_run_id():
    tracker = Tracker()
    assert tracker.begin("a", {}, {}, {}) != tracker.begin("a", {}, {}, {})
    assert tracker.begin("a", {}, {}, {}, "the-first") == "the-first"


def test_flatten():
    assert flatten({"a": {"b": {"c": 1}, "d": [2, 3]}, "e": None}) == {"a.b.c": 1, "a.d": [2, 3], "e": None}
