import pytest
from click.testing import CliRunner

from idc_run.cli import run
from idc_run.spec import make_spec

MISTAKES = {
    "misspelt section": (["-s", "modle.encoder=cnn"], "unknown key 'modle'; did you mean 'model'?"),
    "misspelt key": (["-s", "train.epoch=2"], "unknown key 'epoch' in train; did you mean 'epochs'?"),
    "misspelt key, deep": (
        ["-s", "train.schedule.warmup=2"],
        "unknown key 'warmup' in train.schedule; did you mean 'warmup_steps'?",
    ),
    "misspelt key of a section that may be null": (
        ["-s", "train.early_stopping.patients=2"],
        "unknown key 'patients' in train.early_stopping; did you mean 'patience'?",
    ),
    "misspelt setting of a plugin": (
        ["-s", "model.decoder.drop=0.1"],
        "decoder 'transformer': unknown setting 'drop'; did you mean 'dropout'?",
    ),
    "misspelt setting of the dataset": (
        ["-s", "data.dataset.trian_pairs=8"],
        "dataset 'scenes': unknown setting 'trian_pairs'; did you mean 'train_pairs'?",
    ),
    "misspelt setting of an objective": (
        ["-s", "train.objectives.caption={weight: 1, smoothing: 0.1}"],
        "objective 'caption': unknown setting 'smoothing'; did you mean 'label_smoothing'?",
    ),
    "unknown decoder": (
        ["-s", "model.decoder=transfomer"],
        "unknown decoder 'transfomer'; did you mean 'transformer'?",
    ),
    "unknown dataset": (["-s", "data.dataset=scene"], "unknown dataset 'scene'; did you mean 'scenes'?"),
    "unknown metric": (["-s", "eval.metrics=[rouge]"], "unknown metric 'rouge'; did you mean 'rouge-l'?"),
    "wrong type": (["-s", "train.epochs=many"], "train.epochs is 'many': expected a whole number"),
    "wrong type in a plugin": (["-s", "model.fusion.dim=wide"], "fusion 'concat': dim is 'wide'"),
    "wrong type in the dataset": (
        ["-s", "data.dataset.val_pairs=few"],
        "dataset 'scenes': val_pairs is 'few': expected a whole number",
    ),
    "out of range": (["-s", "train.optimizer.lr=-1"], "train.optimizer.lr is -1: expected more than 0"),
    "no such choice": (["-s", "train.schedule.name=cosin"], "expected 'cosine', 'step', 'plateau'"),
    "selecting by a rate": (["-s", "eval.select=miss_rate"], "expected one metric that is better when higher"),
    "no part to begin with": (
        ["-s", "train.start={checkpoint: scenes, parts: []}"],
        "train.start.parts is []: expected at least 1",
    ),
    "unknown part to begin with": (
        ["-s", "train.start={checkpoint: scenes, parts: [encodr]}"],
        "tiny.yaml: train.start.parts.0 is 'encodr': expected 'encoder', 'fusion', 'decoder' or 'objectives'",
    ),
    "rate of an unknown part": (
        ["-s", "train.optimizer.rates={encodr: 0.1}"],
        "train.optimizer.rates.encodr is 'encodr': expected 'encoder'",
    ),
    "more pairs than there is time for": (
        ["-s", "data.dataset.train_pairs=1000000000000000"],
        "dataset 'scenes': train_pairs is 1000000000000000: expected at most 1000000000",
    ),
    "larger images than there is memory for": (
        ["-s", "data.image_size=1000000"],
        "data.image_size is 1000000: expected at most 4096",
    ),
    "YAML a thousand deep": (["-s", f"seed={'[' * 1000}"], "it is nested too deeply"),
    "no such folder": (["-s", "data.dataset=data/mine"], "dataset 'data/mine': there is no such folder; expected"),
    "missing section": (["-s", "model="], "model is None: expected"),
    "override without a value": (["-s", "train.epochs"], "override 'train.epochs': expected dotted.path=value"),
    "override below a value": (["-s", "seed.of.order=1"], "override of seed.of.order: seed is 3, expected a section"),
    "override that is no YAML": (["-s", "train.epochs=[1"], "override 'train.epochs=[1', line 1: "),
    "nothing to resume": (["--resume"], "nothing to resume: "),
    "batch larger than the data": (["-s", "data.batch_size=17"], "reduce the batch size"),
}


def fails(arguments):
    """Run the command; give the one line that it says of a mistake."""
    ended = CliRunner().invoke(run, [str(argument) for argument in arguments])
    assert (ended.exit_code, ended.stdout) == (2, ""), ended.output
    (line,) = ended.stderr.splitlines()
    return line


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_type_and_nothing_is_made(tiny, name):
    overrides, message = MISTAKES[name]
    line = fails([tiny.name, *overrides])
    assert line.startswith("error: ") and message in line
    assert [path.name for path in tiny.parent.iterdir()] == [tiny.name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nseed: 1\nseed: 2\n", 'line 3: found duplicate key "seed"; give it only once'),
        ("name: a\ntrain: {epochs: 1, epochs: 2}\n", 'line 2: found duplicate key "epochs"; give it only once'),
        ("name: a\nmodel: [\n", "line 3: "),
        ("- name\n", "expected sections such as name, data, model"),
        ("a: " + "{a: " * 1000, "it is nested too deeply"),
        ("\n".join(" " * depth + "a:" for depth in range(1000)), "it is nested too deeply"),
        ("", "expected sections such as name, data, model"),
        ("name: a\n", "model is missing; add it"),
        ("name: !!python/object:os.system {}\n", "line 1: "),
    ],
)
def test_a_broken_file_is_one_line(tiny, text, message):
    tiny.write_text(text)
    line = fails([tiny.name])
    assert line.startswith("error: tiny.yaml") and message in line
    assert [path.name for path in tiny.parent.iterdir()] == [tiny.name]


def test_a_missing_file_is_one_line_with_the_nearest_file(tiny):
    assert fails(["tinny.yaml"]).startswith("error: no spec at 'tinny.yaml'; did you mean 'tiny.yaml'?")
    assert "no spec at 'no/where.yaml'" in fails(["no/where.yaml"])
    assert [path.name for path in tiny.parent.iterdir()] == [tiny.name]


def test_check_makes_nothing(tiny):
    ended = CliRunner().invoke(run, [tiny.name, "--check"])
    assert ended.exit_code == 0 and "nothing was written" in ended.stdout
    assert [path.name for path in tiny.parent.iterdir()] == [tiny.name]


def test_the_spec_is_read_as_yaml_1_2(spec):
    assert spec("train.optimizer.lr=1e-4").train.optimizer.lr == 1e-4
    assert spec("name=no").name == "no"


def test_completed_says_everything_and_means_the_same(spec):
    given = spec("train.objectives={caption: 1, cosine: 0.1}", "register=idc")
    completed = given.completed()
    assert completed["model"]["encoder"] == {
        "name": "cnn",
        "widths": [8, 8],
        "blocks": 1,
        "weights": None,
        "frozen": False,
        "coordinates": False,
    }
    assert completed["train"]["objectives"]["caption"] == {"weight": 1.0, "label_smoothing": 0.0}
    assert completed["train"]["early_stopping"] == {"patience": 5}
    assert completed["register"] == {"model": "idc"}
    again = make_spec(completed)
    assert again.completed() == completed and again.fingerprint() == given.fingerprint()
    assert spec("seed=4").fingerprint() != spec().fingerprint()


def test_overrides_reach_into_shorthands(spec):
    changed = spec("model.encoder=cnn", "model.encoder.widths=[8]", "data.dataset=scenes", "data.dataset.seed=5")
    assert changed.model.encoder.name == "cnn" and changed.model.encoder.settings == {"widths": [8]}
    assert changed.data.dataset == {"name": "scenes", "seed": 5}
    assert spec("train.early_stopping=null").train.early_stopping is None


@pytest.mark.parametrize("given", ["idc", "{model: idc}"])
def test_register_has_a_short_form(spec, given):
    registering = spec(f"register={given}").register_
    assert registering and registering.model == "idc"


def test_a_spec_is_completed_once_and_a_copy_is_completed_anew(spec, monkeypatch):
    chosen = spec("seed=4")
    whole = chosen.completed()
    other = chosen.model_copy(update={"seed": 5})
    assert other.completed() == whole | {"seed": 5}
    monkeypatch.setattr("idc_run.spec.resolve_reader", lambda dataset: pytest.fail("completed again"))
    whole["data"]["dataset"]["name"] = "mine"
    assert chosen.completed()["data"]["dataset"]["name"] == "scenes" and chosen == spec("seed=4")
