"""Models of a registry that lies elsewhere: fetched once by a process, and taken away when it ends."""

import atexit
from pathlib import Path
from types import SimpleNamespace

import pytest

from idc_run.tracking import registry


@pytest.fixture
def remote(monkeypatch):
    """A server with version 3 of a model; what was fetched of it, and what is done when the process ends."""
    fetched, at_end = [], []

    def download_artifacts(model, dst_path=None):
        assert dst_path, "MLflow would leave it in the temporary folder"
        fetched.append(model)
        (Path(dst_path) / "artifacts").mkdir()
        (Path(dst_path) / "artifacts/best.safetensors").write_bytes(b"")
        return dst_path

    client = SimpleNamespace(get_model_version_by_alias=lambda name, alias: SimpleNamespace(version=3))
    fake = SimpleNamespace(
        get_tracking_uri=lambda: f"http://{id(fetched)}",
        artifacts=SimpleNamespace(download_artifacts=download_artifacts),
        MlflowClient=lambda: client,
        exceptions=SimpleNamespace(MlflowException=KeyError),
    )
    monkeypatch.setattr(registry, "look_into", lambda problem: fake)
    monkeypatch.setattr(registry, "connect", lambda: fake)
    monkeypatch.setattr(atexit, "register", lambda *call, **words: at_end.append(lambda: call[0](*call[1:], **words)))
    return fetched, at_end


def test_a_model_is_fetched_once_and_leaves_nothing(remote):
    fetched, at_end = remote
    found = [registry.checkpoint_of(model) for model in ("models:/idc@champion", "models:/idc/3", "models:/idc@best")]
    assert fetched == ["models:/idc/3"] and len(set(found)) == 1 and found[0].is_file()
    for each in at_end:
        each()
    assert not found[0].parents[1].exists()
