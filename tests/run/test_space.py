from pathlib import Path

import optuna
import pytest
from pydantic import TypeAdapter

from idc_run.space import Space, cells, draw, options, with_values
from idc_run.spec import load_spec, load_values, make_spec
from idc_run.sweeps.study import check_sweep

ROOT = Path(__file__).parents[2]
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


METHODS = {
    "one": {"model.fusion": {"name": "concat", "dim": 8}, "train.objectives": {"caption": 1.0, "cosine": 0.1}},
    "two": {"model.decoder": {"name": "gru", "dim": 8}},
}


def test_settings_that_change_together_have_a_name():
    space = SPACE.validate_python({"seed": [1, 2], "method": {"together": METHODS}})
    assert draw(space, fixed({"seed": 1, "method": "one"})) == {"seed": 1, **METHODS["one"]}
    assert len(list(cells(space))) == 4 and {"seed": 2, "method": "two"} in list(cells(space))


def test_a_path_may_not_be_set_by_its_own_and_together(tiny):
    values = load_values(tiny)
    space = {"model.fusion": ["concat"], "method": {"together": METHODS}}
    values["sweep"] = {"sampler": "grid", "space": space}
    with pytest.raises(ValueError, match=r"model\.fusion overwrites model\.fusion"):
        check_sweep(values, make_spec(values))


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


GRU_OR_TRANSFORMER = {"model.decoder": [{"name": "gru"}, {"name": "transformer", "layers": 2}]}


@pytest.mark.parametrize(
    ("before", "when"),
    [
        (GRU_OR_TRANSFORMER, {"model.decoder": "transformer"}),
        (GRU_OR_TRANSFORMER, {"model.decoder.name": "transformer"}),
        (GRU_OR_TRANSFORMER, {"model.decoder.layers": 2}),
        ({"model.decoder": ["gru", "transformer"]}, {"model.decoder.name": "transformer"}),
        ({"model.decoder.name": ["gru", "transformer"]}, {"model.decoder": "transformer"}),
        ({"model.decoder": {"choices": {"a": "gru", "transformer": {"name": "b"}}}}, {"model.decoder": "transformer"}),
        ({"model.decoder": ["gru", "transformer"]}, {"model.decoder": "transformer", "train.schedule.name": "cosine"}),
    ],
)
def test_a_condition_may_name_a_plugin_a_choice_or_what_the_spec_has(spec, before, when):
    space = SPACE.validate_python({**before, "model.decoder.dropout": {"low": 0.1, "high": 0.2, "when": when}})
    base, study = spec().completed(), optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        chosen = draw(space, trial, base)
        assert ("model.decoder.dropout" in chosen) == ("transformer" in trial.params.values())


def test_choices_that_could_be_taken_for_each_other_are_refused():
    for choices in ([{"name": "lstm", "dim": 192}, "lstm"], [1, True], [0.0, 0]):
        with pytest.raises(ValueError, match="two choices have the same label .*; name them"):
            list(options(SPACE.validate_python({"model.decoder": choices})))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{model.decoder.layer: [1, 2]}", "sweep.space, model.decoder.layer=.: .*layer"),
        ("{model.decoder: [{name: gru, dimm: 16}, lstm, {name: transformer, dim: 16}]}", "model.decoder=gru: .*dimm"),
        ("{model.decoder: [{name: gru, dim: {low: 4, high: 1}}, lstm]}", "expected low < high"),
        (
            "{model.decoder.dropout: {low: 0.0, high: 0.1, when: {model.fusion: x}}}",
            "model.decoder.dropout is never 0.0, because its condition never holds",
        ),
        (
            "{data.batch_size: {low: 2, high: 4, when: {model.fusion: concat}}, model.fusion: [concat, difference]}",
            "a condition of data.batch_size depends on model.fusion, but model.fusion is drawn later; put",
        ),
        (
            "{model.decoder.dropout: [0.1, 0.2], model.decoder: [gru, lstm]}",
            "model.decoder overwrites model.decoder.dropout; put model.decoder before",
        ),
        (
            "{data.batch_size: {low: 2, high: 4, when: {model.decoder.name: gru}}, model.decoder: [gru, lstm]}",
            "a condition of data.batch_size depends on model.decoder.name, but model.decoder is drawn later",
        ),
        (
            "{model.decoder: [{name: gru, dim: {low: 4, high: 8, when: {model.fusion: x}}}, lstm]}",
            "model.decoder=gru.dim has a condition",
        ),
        (
            "{model.decoder: [{name: gru, dim: {low: 4, high: 8, stp: 1}}, lstm]}",
            "^model.decoder=gru.dim: unknown key 'stp'; did you mean 'step'",
        ),
        ("{train.epochs: {low: 1, high: 4, step: 0}}", "a step above 0"),
        ("{train.epochs: {low: 0, high: 4}}", "train.epochs=0: .*more than 0"),
    ],
)
def test_a_space_that_leads_to_no_spec_is_found_before_anything_is_trained(tiny, section, message):
    values = load_values(tiny, [f"sweep={{space: {section}}}"])
    with pytest.raises(ValueError, match=message):
        check_sweep(values, make_spec(values))


def test_a_setting_of_one_plugin_may_wait_for_it(tiny):
    space = "{model.decoder.name: [gru, transformer], model.decoder.heads: {low: 1, high: 2, when: WHEN}}".replace(
        "WHEN", "{model.decoder: transformer}"
    )
    values = load_values(tiny, [f"sweep={{space: {space}}}", "model.decoder=gru"])
    check_sweep(values, make_spec(values))


def test_conditions_that_hold_seldom_are_found(tiny):
    numbers = ", ".join(map(str, range(1, 21)))
    space = f"""{{train.epochs: {{low: 1, high: 9}}, data.batch_size: [{numbers}], seed: [{numbers}],
      train.log_every: {{low: 1, high: 2, when: {{train.epochs: 3, data.batch_size: 7, seed: 11}}}}}}"""
    values = load_values(tiny, [f"sweep={{space: {space}}}"])
    check_sweep(values, make_spec(values))


@pytest.mark.parametrize("path", sorted(ROOT.glob("experiments/*.yaml")), ids=lambda path: path.stem)
def test_the_sweeps_of_the_experiments_lead_to_specs(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    values = load_values(path, ["data.dataset=scenes"] if path.stem == "zoo" else [])
    if "sweep" in values and path.stem != "backbones":  # which needs files of one's own
        check_sweep(values, make_spec(values))


@pytest.mark.parametrize("name", ["meteor", "bleu", "cidre", "bleu-9"])
def test_an_objective_that_validation_does_not_compute_is_refused(tiny, name):
    section = f"sweep={{space: {{seed: [1, 2]}}, objectives: {{{name}: maximize}}}}"
    values = load_values(tiny, [section, "eval.metrics=[bleu, meteor, cider]"])
    with pytest.raises(ValueError, match=f"sweep.objectives has '{name}'.*bleu-1, bleu-2, bleu-3, bleu-4, cider, lat"):
        check_sweep(values, make_spec(values))
    values = load_values(tiny, [section, "eval.metrics=[bleu, cider]", "eval.select=meteor"])
    if name == "meteor":
        check_sweep(values, make_spec(values))


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
    tenths = SPACE.validate_python({"lr": {"low": 0.1, "high": 0.3, "step": 0.1}})
    assert list(cells(tenths)) == [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}]
    with pytest.raises(ValueError, match="the grid has 1,000,000 cells; expected at most"):
        next(cells(SPACE.validate_python({name: {"low": 1, "high": 10, "step": 1} for name in "abcdef"})))
    with pytest.raises(ValueError, match="lr, from 0.1 to 1.0, has no step"):
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
        ("{space: {a: {low: 0.1, high: 1.0}}, sampler: grid}", "has no step"),
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
