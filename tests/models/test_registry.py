import sys

import pytest
from idc_data.named import settings_schema
from idc_models.contract import Objective
from idc_models.decoders.recurrent import LstmDecoder
from idc_models.registry import describe, find, names, validate


def install(folder, distribution, entry, module="", source=""):
    """Puts a distribution with one decoder into a folder, as an installer would."""
    metadata = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[idc.decoders]\n{entry}\n")
    if module:
        (folder / f"{module}.py").write_text(source)


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    return tmp_path


def test_built_in_names():
    assert {"cnn", "timm", "torchvision"} <= set(names("encoder"))
    assert {"difference", "concat", "concat-difference"} <= set(names("fusion"))
    assert {"lstm", "gru", "transformer"} <= set(names("decoder"))
    assert {"caption", "cosine"} <= set(names("objective"))


def test_find_by_name_and_by_path():
    assert find("decoder", "lstm") is LstmDecoder
    assert find("decoder", "idc_models.decoders.recurrent:LstmDecoder") is LstmDecoder


def test_a_class_in_the_current_folder_is_found_by_its_path_and_hides_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    source = "from idc_models.decoders.recurrent import GruDecoder\nclass Mine(GruDecoder): ...\n"
    (tmp_path / "decoder_of_this_folder.py").write_text(source)
    (tmp_path / "idc_models.py").write_text("raise RuntimeError('in the place of what is installed')")
    assert find("decoder", "decoder_of_this_folder:Mine").__name__ == "Mine"
    assert find("decoder", "idc_models.decoders.recurrent:LstmDecoder") is LstmDecoder


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("decoder", "transfomer", "unknown decoder 'transfomer'; did you mean 'transformer'\\? Known: .*gru, .*lstm"),
        ("decoders", "lstm", "unknown kind 'decoders'; did you mean 'decoder'"),
        ("decoder", "no.such:Class", "decoder 'no.such:Class' .* cannot be imported: ModuleNotFoundError"),
        ("decoder", "idc_models.registry:Nothing", "cannot be imported: AttributeError"),
        ("encoder", "idc_models.fusions:Concat", "does not extend idc_models.contract.Encoder"),
    ],
)
def test_errors_say_what_to_type(kind, name, message):
    with pytest.raises(ValueError, match=message) as caught:
        find(kind, name)
    assert "\n" not in str(caught.value)


def test_two_owners_of_one_name(site):
    install(site, "first-plugin", "lstm = first:Lstm")
    with pytest.raises(ValueError, match="'lstm'.*first-plugin.*idc-models"):
        find("decoder", "lstm")
    assert find("decoder", "gru")  # nobody else is disturbed
    assert [plugin.owner for plugin in describe("decoder") if plugin.name == "lstm"] == ["first-plugin", "idc-models"]


def test_a_broken_plugin_breaks_only_itself(site):
    install(site, "broken-plugin", "broken = broken_module:X", "broken_module", "raise RuntimeError('no such luck')")
    assert "broken" in names("decoder")
    assert find("decoder", "gru")
    with pytest.raises(ValueError, match="'broken'.*RuntimeError: no such luck"):
        find("decoder", "broken")
    (described,) = [plugin for plugin in describe("decoder") if plugin.name == "broken"]
    assert described.owner == "broken-plugin"
    assert "no such luck" in described.summary


def test_describe_names_file_and_purpose():
    (lstm,) = [plugin for plugin in describe("decoder") if plugin.name == "lstm"]
    assert lstm.owner == "idc-models"
    assert "recurrent.py:" in lstm.where
    assert lstm.summary == "Decodes with an LSTM that attends additively to the memory."


def test_schema_is_the_keyword_only_signature():
    assert settings_schema(LstmDecoder)().model_dump() == {"dim": 256, "dropout": 0.1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": 2}, "decoder 'transformer': unknown setting 'layer'; did you mean 'layers'\\? Known: dim, dropout"),
        ({"layers": "many"}, "layers is 'many': expected a whole number"),
        ({"layers": 0}, "layers is 0: expected more than 0"),
        ({"dropout": 1.5}, "dropout is 1.5"),
        ({"layer": 2, "dropout": 2}, "unknown setting 'layer'.*; .*dropout is 2|dropout is 2.*'layer'"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        validate("decoder", "transformer", settings)
    assert "\n" not in str(caught.value)


class OfTheFirstEdition(Objective):
    """An objective that is told one width instead of three."""

    def __init__(self, memory_dim, vocab, *, power: int = 2):
        super().__init__(memory_dim, vocab)


def test_an_objective_of_the_first_edition_is_told_what_changed(monkeypatch):
    monkeypatch.setitem(sys.modules, "own_objectives", sys.modules[__name__])
    with pytest.raises(ValueError, match=r"memory_dim.*expected __init__\(self, widths, vocab.*widths\.memory"):
        validate("objective", "own_objectives:OfTheFirstEdition", {})
