"""What runs are called in MLflow."""

from idc_run.tracking.naming import run_name, setting_names

BEFORE = {"name": "a", "seed": 7, "model": {"decoder": {"name": "transformer", "dim": 64}, "fusion": "concat"}}


def test_a_run_is_named_after_what_the_command_line_changed():
    assert run_name("a", ["model.decoder=gru", "seed=2"], BEFORE) == "a, decoder gru, seed 2"
    assert run_name("a", ["train.optimizer.lr=1e-4", "data.augment.flip=false"], BEFORE) == "a, lr 0.0001, flip False"
    assert run_name("a", ["model.decoder.name=gru", "eval.metrics=[bleu, cider]"], BEFORE) == (
        "a, decoder gru, metrics bleu cider"
    )
    assert run_name("a", ["data.dataset={name: scenes, train_pairs: 64}"], BEFORE) == "a, dataset scenes"


def test_a_name_tells_only_settings_that_differ_and_the_last_value_of_each():
    assert run_name("a", [], BEFORE) == run_name("a", ["seed=7", "model.fusion=concat"], BEFORE) == "a"
    assert run_name("a", ["seed=1", "seed=2"], BEFORE) == "a, seed 2"
    assert run_name("a", ["tracking=off", "sweep=null", "register.model=x", "train.device=cpu"], BEFORE) == "a"


def test_a_name_that_was_given_is_taken_as_it_is():
    assert run_name("mine", ["name=mine", "seed=2"], BEFORE) == "mine"


def test_a_name_stays_short_and_shows_no_password():
    many = [f"train.objectives.o{number}={number}" for number in range(6)]
    assert run_name("a", many, BEFORE) == "a, o0 0, o1 1, o2 2, o3 3, 2 more"
    assert run_name("a", ["data.dataset=/a/folder/far/away/with/a/long/way/levir"], BEFORE) == "a, dataset levir"
    assert len(run_name("a", [f"data.dataset={'x' * 300}"], BEFORE)) < 50
    assert "secret" not in run_name("a", ["data.dataset=http://me:secret@host/x"], BEFORE)


def test_trials_are_named_by_their_settings():
    assert setting_names({"model.decoder": "gru", "model.decoder=gru.dim": "128", "train.schedule.name": "step"}) == [
        "decoder gru",
        "dim 128",
        "schedule step",
    ]
