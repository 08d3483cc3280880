"""SPICE itself cannot run here: its parser's models are in no package registry. What surrounds it can."""

import pytest
from idc_eval import score
from idc_eval.spice import JARS


def test_without_its_jars_spice_is_skipped_and_says_what_it_needs(predictions, monkeypatch):
    monkeypatch.delenv(JARS, raising=False)
    scores = score(predictions, ["rouge-l", "spice"])
    assert "spice" not in scores.values and "stanford-corenlp-3.6.0.jar" in scores.skipped["spice"]


def test_a_folder_without_the_jars_is_refused(predictions, monkeypatch, tmp_path):
    monkeypatch.setenv(JARS, str(tmp_path))
    with pytest.raises(ValueError, match="stanford-corenlp-3.6.0.jar"):
        score(predictions, ["spice"])


def test_what_java_says_reaches_the_user(predictions, monkeypatch, tmp_path):
    """Empty jars: the real program starts, and misses the parser."""
    for name in ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar"):
        (tmp_path / name).touch()
    monkeypatch.setenv(JARS, str(tmp_path))
    with pytest.raises(ChildProcessError, match="SPICE.*code 1.*edu/stanford/nlp"):
        score(predictions[:2], ["spice"])
