import optuna
import pytest
from pydantic import TypeAdapter

from idc_run.space import Space, cells, draw, with_values
from idc_run.spec import load_spec, make_spec

SPACE = TypeAdapter(Space)


def fixed(params):
    return optuna.trial.FixedTrial(params)


def test_a_choice_may_be_a_whole_plugin_with_a_space_of_its_own():
    decoders = [
        {"name": "transformer", "layers": {"low": 1, "high": 3}, "dim": 64},
        {"name": "gru", "dim": {"choices": [16, 32]}},
        "lstm",
    ]
    space = SPACE.validate_python({"model.decoder": decoders})
    chosen = draw(space, fixed({"model.decoder": "transformer", "model.decoder=transformer.layers": 2}))
    assert chosen == {"model.decoder": {"name": "transformer", "layers": 2, "dim": 64}}
    chosen = draw(space, fixed({"model.decoder": "gru", "model.decoder=gru.dim": 32}))
    assert chosen == {"model.decoder": {"name": "gru", "dim": 32}}
    assert draw(space, fixed({"model.decoder": "lstm"})) == {"model.decoder": "lstm"}


def test_choices_of_one_plugin_are_told_apart_by_names_that_one_gives_them():
    choices = {"narrow": {"name": "cnn", "widths": [8, 8]}, "wide": {"name": "cnn", "widths": [16, 16]}}
    space = SPACE.validate_python({"model.encoder": {"choices": choices}})
    assert list(cells(space)) == [{"model.encoder": "narrow"}, {"model.encoder": "wide"}]
    assert draw(space, fixed({"model.encoder": "wide"})) == {"model.encoder": {"name": "cnn", "widths": [16, 16]}}


def test_ranges_are_whole_or_not_and_logarithmic_or_not():
    space = SPACE.validate_python(
        {
            "a": {"low": 1, "high": 9},
            "b": {"low": 1e-4, "high": 1e-1, "log": True},
            "c": {"low": 0.0, "high": 1, "step": 0.5},
        }
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = [draw(space, study.ask()) for _ in range(60)]
    assert {each["a"] for each in seen} == set(range(1, 10)) and {each["c"] for each in seen} == {0.0, 0.5, 1.0}
    assert 0.2 < sum(each["b"] < 10**-2.5 for each in seen) / 60 < 0.8


def test_a_condition_holds_or_the_path_is_left_alone():
    space = SPACE.validate_python(
        {
            "train.optimizer.name": ["adam", "muon"],
            "train.optimizer.lr": {"low": 0.1, "high": 1.0, "when": {"train.optimizer.name": "muon"}},
        }
    )
    assert draw(space, fixed({"train.optimizer.name": "adam"})) == {"train.optimizer.name": "adam"}
    both = draw(space, fixed({"train.optimizer.name": "muon", "train.optimizer.lr": 0.5}))
    assert both == {"train.optimizer.name": "muon", "train.optimizer.lr": 0.5}


def test_a_grid_has_every_combination():
    space = SPACE.validate_python(
        {
            "seed": [1, 2],
            "model.decoder": [{"name": "gru", "dim": {"choices": [8, 16]}}, "lstm"],
            "train.objectives.cosine": {"low": 0.0, "high": 1.0, "step": 0.5},
        }
    )
    found = list(cells(space))
    assert len(found) == 2 * 3 * 3 and len({str(cell) for cell in found}) == 18
    values = [draw(space, fixed(cell)) for cell in found]
    assert {"name": "gru", "dim": 16} in [each["model.decoder"] for each in values]
    with pytest.raises(ValueError, match="a grid needs the step of lr"):
        list(cells(SPACE.validate_python({"lr": {"low": 0.1, "high": 1.0}})))


def test_values_are_set_without_touching_the_others():
    values = {"model": {"decoder": "gru"}, "sweep": {}, "seed": 1}
    assert with_values(values, {"model.decoder.dim": 8, "seed": 2}) == {
        "model": {"decoder": {"name": "gru", "dim": 8}},
        "seed": 2,
    }
    assert values == {"model": {"decoder": "gru"}, "sweep": {}, "seed": 1}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{space: {}}", "sweep.space"),
        ("{space: {seed: []}, sampler: grid}", ""),
        ("{space: {a: {low: 2, high: 1}}}", "expected low < high"),
        ("{space: {a: {low: 0, high: 1, log: true}}}", "above 0 with log"),
        ("{space: {a: {low: 1, high: 2, hihg: 3}}}", "hihg"),
        ("{space: {seed: [1]}, trails: 3}", "did you mean 'trials'"),
        ("{space: {a: {low: 0.1, high: 1.0}}, sampler: grid}", "needs the step"),
    ],
)
def test_a_mistake_in_a_sweep_is_one_line(spec, section, message):
    with pytest.raises(ValueError, match=message or "sweep|space") as caught:
        spec(f"sweep={section}")
    assert "\n" not in str(caught.value)


def test_the_sweep_is_no_part_of_what_a_trial_is(spec, tiny):
    with_sweep = load_spec(tiny, ["sweep={space: {seed: [1, 2]}}"])
    assert with_sweep.fingerprint() == spec().fingerprint() and "sweep" not in with_sweep.completed()
    assert make_spec(with_sweep.completed()).sweep is None
