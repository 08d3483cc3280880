"""Published checkpoints become ours: whatever the files look like, and with the ids that their words have."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from idc_models import load
from idc_models.checkpoint import read_checkpoint
from idc_models.cli import main
from idc_models.contract import Widths
from idc_models.decoding import generate
from idc_models.encoders.cnn import CnnEncoder
from idc_models.registry import find
from idc_models.testing import Vocabulary
from idc_models.zoo import load_published, method_of, methods
from safetensors.torch import load_file, save_file
from torch import nn

DIM, SIDE, WORDS = 32, 8, 12
FUSIONS = {
    "duda": {"coordinates": True},
    "scorer": {"layers": 1, "coordinates": True},
    "dirl": {"layers": 1, "coordinates": True},
    "dirl-dc": {"layers": 1, "norm": True},
    "mccformers-s": {"layers": 1},
    "mccformers-d": {"layers": 1},
    "rsiccformer": {"layers": 1, "heads": 8},
    "chg2cap": {"layers": 1, "heads": 8, "attention_dim": 16, "feed_dim": 16, "as_published": True},
}
DECODERS = {
    "duda": {"dim": 16, "embed_dim": 16, "word_dim": 16},
    "scorer": {"word_dim": 16, "layers": 1},
    "dirl": {"word_dim": 16, "layers": 1},
    "dirl-dc": {"word_dim": 16, "layers": 1, "norm": True},
    "chg2cap": {"layers": 1, "heads": 8, "residual": True},
}
OBJECTIVES = {"ccr": {"as_published": True}, "cbr": {"as_published": True}}


def published_state(method, visual_dim=8):
    """Random weights under the published names, by the map from those to ours."""
    recipe = method_of(method)
    settings = {} if method == "duda" else {"grid_side": SIDE}
    fusion = find("fusion", recipe.fusion)(visual_dim, dim=DIM, **settings, **FUSIONS.get(method, {}))
    decoder = find("decoder", recipe.decoder)(fusion.memory_dim, Vocabulary(), **DECODERS.get(method, {"layers": 1}))
    widths = Widths(visual_dim, fusion.memory_dim, decoder.state_dim)
    state = {"fusion": fusion, "decoder": decoder}
    for name in recipe.objectives:
        state[f"objectives/{name}"] = find("objective", name)(widths, Vocabulary(), **OBJECTIVES.get(name, {}))
    ours = {f"{part}/{name}": value for part, module in state.items() for name, value in module.state_dict().items()}
    return {theirs(recipe.names, name): torch.randn_like(value) if value.is_floating_point() else value
            for name, value in ours.items()}  # fmt: skip


def theirs(names, name):
    """The published name of a parameter of ours."""
    fitting = [
        (match, start)
        for start, ours in names.items()
        if ours and (match := re.match(re.escape(ours).replace(r"\*", r"(\d+)"), name))
    ]
    match, start = max(fitting, key=lambda each: each[0].end())
    numbers = iter([*match.groups(), "0", "0"])
    return re.sub(r"\*", lambda _: next(numbers), start) + name[match.end() :]


def nested(state):
    """The same, as a dictionary of state dicts."""
    groups = {}
    for name, value in state.items():
        module, _, inner = name.partition("/")
        groups.setdefault(module, {})[inner] = value
    return groups


class Files:
    """A folder with a small encoder and a vocabulary; `run` types the command there."""

    def __init__(self, folder):
        self.folder = folder
        torch.manual_seed(1)
        self.encoder = CnnEncoder(widths=(8, 8)).eval()
        save_file(self.encoder.state_dict(), folder / "encoder.safetensors")
        self.words = {word: number for number, word in enumerate(["<NULL>", "<UNK>", "<START>", "<END>", *"abcdefgh"])}
        (folder / "vocab.json").write_text(json.dumps(self.words))
        self.out = folder / "ours.safetensors"

    def save(self, content, name="published.pt"):
        torch.save(content, self.folder / name)
        return str(self.folder / name)

    def run(self, method, *arguments, vocab="vocab.json"):
        encoder = f"{{name: cnn, widths: [8, 8], weights: {self.folder}/encoder.safetensors}}"
        how = ["--encoder", encoder, "--image-size", "32", "--max-length", "9"]
        vocabulary = ["--vocab", str(self.folder / vocab)] if vocab else []
        return CliRunner().invoke(main, ["import", method, *how, *vocabulary, *arguments, str(self.out)])

    def refused(self, method, *arguments, vocab="vocab.json"):
        result = self.run(method, *arguments, vocab=vocab)
        assert result.exit_code == 2, result.output
        (line,) = result.stderr.splitlines()
        assert not self.out.exists() and not [*self.folder.glob(".*")]
        return line


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


@pytest.mark.parametrize(
    "method", ["duda", *(pytest.param(name, marks=pytest.mark.slow) for name in methods() if name != "duda")]
)
def test_a_published_model_says_as_ours_what_it_says_as_published(files, method):
    state = published_state(method)
    result = files.run(method, files.save(nested(state)))
    assert result.exit_code == 0, result.output
    assert str(files.out) in result.output and f"{WORDS} words" in result.output

    trained = read_checkpoint(files.out)
    before, after = torch.randint(0, 256, (2, 2, 3, 32, 32), dtype=torch.uint8)
    fusion, decoder, _ = load_published(method, state)
    with torch.no_grad():
        memory = fusion(*files.encoder.pair(before, after)).memory
        expected = generate(decoder, memory, max_length=8).tokens
        written = trained.model.generate(before, after).tokens
    assert written.equal(expected)
    assert (trained.tokenizer.bos_id, trained.tokenizer.eos_id) == (decoder.vocab.bos_id, decoder.vocab.eos_id)


@pytest.mark.slow
def test_it_captions_images_by_its_own_words(files):
    assert files.run("scorer", files.save(nested(published_state("scorer"))), "--no-change", "a b c").exit_code == 0
    before, after = np.random.default_rng(0).integers(0, 256, (2, 40, 48, 3), dtype=np.uint8)
    said = load(files.out).caption(before, after)
    assert set(said.caption.split()) <= set("abcdefgh")
    assert said.changed is not None and 0 <= said.changed <= 1


@pytest.mark.slow
def test_many_shapes_of_files_are_read(files):
    state = published_state("scorer")
    groups = nested(state)
    weights = {}

    def imported(*arguments, vocab="vocab.json"):
        result = files.run("scorer", *arguments, vocab=vocab)
        assert result.exit_code == 0, result.output
        weights[len(weights)] = load_file(files.out)
        return result.output

    renamed = {"change_detector_state": groups["detector"], "speaker_state": groups["speaker"], "cbr": groups["cbr"]}
    told = imported(files.save({**renamed, "step": 7, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}}))
    assert "left out: optimizer/state/0" in told
    parallel = {name: {f"module.{inner}": value for inner, value in each.items()} for name, each in groups.items()}
    imported(files.save(parallel))
    imported(files.save({name.replace("/", "."): value for name, value in state.items()}))
    imported(files.save({f"module.{name.replace('/', '.')}": value for name, value in state.items()}))
    save_file(state, files.folder / "flat.safetensors")
    imported(str(files.folder / "flat.safetensors"))
    apart = [files.save(each, f"{name}.pt") for name, each in groups.items()]
    imported(*apart)
    imported("--part", f"detector={apart[0]}", *apart[1:])
    imported(files.save({**groups, "word_to_idx": files.words}), vocab=None)
    (files.folder / "list.json").write_text(json.dumps(list(files.words)))
    imported(files.save(groups), vocab="list.json")
    (files.folder / "inner.json").write_text(json.dumps({"word_to_idx": files.words}))
    imported(files.save(groups), vocab="inner.json")
    for other in weights.values():
        assert other.keys() == weights[0].keys() and all(value.equal(weights[0][name]) for name, value in other.items())


def test_what_is_not_there_of_an_objective_is_no_fault(files):
    groups = nested(published_state("scorer"))
    del groups["cbr"]
    assert files.run("scorer", files.save(groups)).exit_code == 0
    assert read_checkpoint(files.out).spec["train"]["objectives"].keys() == {"caption", "cross-view"}


WRITES_OBJECTS = """
import sys, torch, argparse
class EasyDict(dict): pass
class Speaker(torch.nn.Module):
    def __init__(self, state):
        super().__init__()
        for name, value in state.items():
            owner = self
            *path, last = name.split(".")
            for each in path:
                if each not in owner._modules:
                    owner.add_module(each, torch.nn.Module())
                owner = owner._modules[each]
            owner.register_parameter(last, torch.nn.Parameter(value))
groups = torch.load(sys.argv[1], weights_only=True)
whole = {name: Speaker(state) for name, state in groups.items()}
torch.save({**whole, "cfg": EasyDict(a={"b": 1}), "args": argparse.Namespace(c=2)}, sys.argv[1])
"""


@pytest.mark.slow
def test_whole_modules_are_read_without_their_code(files):
    """Of classes that are not there: nothing of them is run, their tensors are kept."""
    groups = nested(published_state("mccformers-s"))
    path = files.save(groups)
    assert files.run("mccformers-s", path).exit_code == 0
    expected = load_file(files.out)
    subprocess.run([sys.executable, "-c", WRITES_OBJECTS, path], check=True)
    assert files.run("mccformers-s", path).exit_code == 0
    assert all(value.equal(expected[name]) for name, value in load_file(files.out).items())


class Run:
    """What is pickled so would run a command where it is read."""

    def __reduce__(self):
        return (print, ("this was run",))


def test_what_does_not_fit_is_told_in_a_line_and_nothing_is_written(files, capfd):
    groups = nested(published_state("scorer"))
    path = files.save(groups)
    assert "it looks like 'scorer'" in files.refused("duda", path)
    assert "unknown method 'scorrer'; did you mean 'scorer'" in files.refused("scorrer", path)
    assert "no checkpoint at 'gone.pt'" in files.refused("scorer", "gone.pt")
    assert "has 12 words but no vocabulary; give it as --vocab" in files.refused("scorer", path, vocab=None)
    for words, message in (
        ({"a": 0}, "has 1 words, but the checkpoint has 12"),
        ({"a": 1, "b": 7}, "must be 0, 1, 2, ..."),
        (7, "is int, expected {word: id}"),
    ):
        (files.folder / "other.json").write_text(json.dumps(words))
        assert message in files.refused("scorer", path, vocab="other.json")
    (files.folder / "other.json").write_text("{")
    assert "is not JSON" in files.refused("scorer", path, vocab="other.json")
    assert "lacks" in files.refused("scorer", files.save({"detector": groups["detector"]}, "half.pt"))
    assert "has no part 'speeker'" in files.refused("scorer", path, "--part", f"speeker={path}")
    assert "hold module 'detector' of 'scorer'" in files.refused(
        "scorer", files.save({**groups, "ema": groups["detector"]}, "twice.pt")
    )
    extra = {**groups["detector"], "extra.weight": torch.zeros(1)}
    assert "'extra.weight' in 'detector' is not a parameter" in files.refused(
        "scorer", files.save({"detector": extra}, "extra.pt")
    )
    narrow = {name: value[:, :-1] if name == "img.0.weight" else value for name, value in groups["detector"].items()}
    assert "has cells of width 8, but the published 'scorer' needs 7" in files.refused(
        "scorer", files.save({**groups, "detector": narrow}, "narrow.pt")
    )
    assert "holds no tensors" in files.refused("scorer", files.save({"epoch": 3}, "none.pt"))
    whole = (files.folder / "published.pt").read_bytes()
    (files.folder / "cut.pt").write_bytes(whole[: len(whole) // 2])
    assert "is the download complete?" in files.refused("scorer", str(files.folder / "cut.pt"))
    assert "holds Python objects" in files.refused("scorer", files.save({**groups, "run": Run()}, "run.pt"))
    assert "expected OUT.safetensors" in CliRunner().invoke(main, ["import", "scorer", path, "ours.pt"]).stderr
    assert "this was run" not in capfd.readouterr().out


def test_an_encoder_without_weights_is_refused(files):
    path = files.save(nested(published_state("duda")))
    result = CliRunner().invoke(
        main, ["import", "duda", path, str(files.out), "--vocab", str(files.folder / "vocab.json"), "--encoder",
               "{name: cnn, widths: [8, 8]}"]
    )  # fmt: skip
    assert result.exit_code == 2 and "has no trained weights" in result.stderr and not files.out.exists()


@pytest.mark.slow
def test_an_encoder_that_was_trained_along_is_taken(files):
    encoder = find("encoder", "torchvision")(backbone="resnet18", level=0)
    given = {f"model.{name.removeprefix('backbone.')}": torch.ones_like(value)
             for name, value in encoder.state_dict().items()}  # fmt: skip
    groups = nested(published_state("duda", encoder.dim))
    groups["encoder_dict"] = {**given, "model.9.weight": torch.ones(1)}  # and a level that is cut off
    chosen = "{name: torchvision, backbone: resnet18, level: 0, pretrained: true}"
    result = files.run("duda", files.save(groups), "--encoder", chosen)
    assert result.exit_code == 0 and "encoder from encoder_dict in the files" in result.output
    assert load_file(files.out)["model/encoder.backbone.0.weight"].equal(given["model.0.weight"])


def test_the_names_of_a_resnet_are_known_in_each_form():
    from idc_models.importing.sorting import as_backbone

    plain = {f"{name}.weight": torch.zeros(1) for name in ("conv1", "layer1.0.conv1", "layer3.2.bn1")}
    wanted = ["backbone.0.weight", "backbone.4.0.conv1.weight", "backbone.6.2.bn1.weight"]
    for start in ("", "net.", "module.encoder."):
        found = as_backbone({f"{start}{name}": value for name, value in plain.items()}, wanted)
        assert found is not None and found.keys() == set(wanted)
    assert as_backbone(nn.Linear(2, 2).state_dict(), wanted) is None
