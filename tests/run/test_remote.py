"""A real MLflow server elsewhere: runs, artifacts and models go through it, and nothing is written beside it."""

import pytest
from click.testing import CliRunner

from idc_run.cli import run
from idc_run.serving.caption_cli import caption

pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")


@pytest.mark.slow
def test_a_run_on_a_server_is_tracked_registered_repeated_and_used(registered, serving, tmp_path, monkeypatch):
    home, here = tmp_path / "server", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    kept = home / "artifacts"
    command = f"server --backend-store-uri sqlite:///{home}/db --artifacts-destination {kept} --workers 1"
    with serving(command, home) as server:
        monkeypatch.chdir(here)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
        used(run, registered.spec_file, "-s", "tracking=mlflow", "-s", "register=far")
        assert {path.name for path in here.iterdir()} == {"mlruns"}
        assert {path.name for path in (here / "mlruns").iterdir()} == {"checkpoints"}
        assert list(kept.rglob("report.html")) and list(kept.rglob("*.safetensors"))
        images = [next(kept.rglob(f"*-{side}.webp")) for side in ("before", "after")]
        assert used(caption, "models:/far@champion", *images).stdout
        run_id = next((here / "mlruns" / "checkpoints").glob("*/*")).name
        assert used(run, "--from-run", run_id, "--check").stdout.count(": the same") == 5


def test_a_server_that_is_not_there_is_one_line_in_seconds(registered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    done = CliRunner().invoke(run, [str(registered.spec_file), "-s", "tracking=mlflow"])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: no MLflow server answers at MLFLOW_TRACKING_URI='http://127.0.0.1:9'")
    assert not (tmp_path / "mlruns").exists()


def used(command, *words):
    done = CliRunner().invoke(command, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done
