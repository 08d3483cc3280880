"""Who does what of a sweep, without training: attempts that begin, end, fail and die, from several machines."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
from optuna.trial import TrialState

from idc_run.spec import load_values
from idc_run.sweeps import queue, study
from idc_run.sweeps.queue import busy, take

pytestmark = pytest.mark.filterwarnings("ignore:::optuna")


SPACE = "{seed: [1, 2, 3, 4, 5, 6, 7, 8]}"


@pytest.fixture
def machine(tiny, tmp_path, monkeypatch):
    """Opens one study from the folder of a machine, which shares the storage and nothing else."""
    (tmp_path / "shared").mkdir()
    journal = study.open_storage
    monkeypatch.setattr(study, "open_storage", lambda search, folder: journal(search, tmp_path / "shared"))

    def opened(name="here", section="sampler: random, trials: 6, seeds: 2", **more):
        (tmp_path / name / "mlruns").mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        return study.open_sweep(load_values(tiny, [f"sweep={{space: {SPACE}, {section}}}"]), **more)

    return opened


def attempts(opened):
    return [trial for trial in opened.study.get_trials() if "twice" not in trial.user_attrs]


def end(opened, trial, value=0.5):
    opened.chosen(trial)
    opened.study.tell(trial, value)


def test_every_try_is_begun_once_and_then_the_best_one_again_by_seed(machine):
    here = machine()
    worker = here.lock("worker-1")
    with worker:
        for item in range(6):
            trial = take(here, "worker-1")
            assert trial.user_attrs["item"] == item
            end(here, trial, value=1.0 if item == 3 else 0.1)
        again = [take(here, "worker-1") for _ in range(2)]
        assert [each.user_attrs["item"] for each in again] == ["again 3, seed 0", "again 3, seed 1"]
        assert take(here, "worker-1") is None and busy(here), "nothing is left to begin, and two are under way"
        for each in again:
            assert here.chosen(each) == here.best().params
            here.study.tell(each, 0.9)
        assert take(here, "worker-1") is None and not busy(here)
        assert here.best().user_attrs["item"] == 3, "the best one again is no trial of the search"


def test_a_try_draws_the_same_whoever_makes_it(machine, tmp_path):
    drawn = []
    for order in ([0, 1, 2], [2, 0, 1]):
        here = machine(f"machine-{len(drawn)}")
        found = {}
        for item in order:
            here.study.sampler = study.sampler(here, item)
            found[item] = here.chosen(here.study.ask())
        drawn.append(found)
    assert drawn[0] == drawn[1] and len({str(each) for each in drawn[0].values()}) > 1


def work(opened):
    name = f"worker-{threading.get_ident()}"
    with opened.lock(name):
        while (trial := take(opened, name)) or busy(opened):
            if trial:
                end(opened, trial, value=trial.number)


def all_once(machines):
    with ThreadPoolExecutor(len(machines)) as pool:
        list(pool.map(work, machines))
    ended = [trial for trial in attempts(machines[0]) if trial.state == TrialState.COMPLETE]
    counts = Counter(trial.user_attrs["item"] for trial in ended)
    assert counts == {**dict.fromkeys(range(8), 1), f"again {machines[0].best().number}, seed 0": 1}
    assert sorted(trial.params["seed"] for trial in ended[:8]) == list(range(1, 9))


def test_machines_that_share_only_the_storage_begin_nothing_twice(machine):
    machines = [machine(name, "sampler: grid, seeds: 1") for name in ("a", "b", "c")]
    assert len({each.folder for each in machines}) == 3
    all_once(machines)


def test_checkouts_that_share_a_sqlite_file_share_its_locks(tiny, tmp_path, monkeypatch):
    machines = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        section = f"{{space: {SPACE}, sampler: grid, seeds: 1, storage: 'sqlite:///../study.db'}}"
        machines.append(study.open_sweep(load_values(tiny, [f"sweep={section}"])))
    assert machines[0].folder == machines[1].folder
    all_once(machines)


def test_a_machine_that_is_silent_is_dead_and_one_on_this_machine_at_once(machine, monkeypatch):
    here, there = machine("here"), machine("there")
    lock = there.lock("worker-there")
    lock.acquire()
    lost = take(there, "worker-there")
    there.chosen(lost)
    lost.set_user_attr("run", "r1")
    assert take(here, "worker-here").user_attrs["item"] == 1, "item 0 is under way there"
    monkeypatch.setattr(queue, "SILENT", -1.0)
    retry = take(here, "worker-here")  # what this process began itself is dead, too: nobody holds its lock
    told = retry.user_attrs
    assert (told["item"], told["retry_of"], told["goes_on"]) == (0, lost.number, "r1")
    assert here.chosen(retry) == here.study.get_trials()[lost.number].params
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        lost.report(0.5, 1)  # so that the one who was not dead notices
    # It dies once more before it has a run of its own, and what it was to go on from is not forgotten.
    assert take(here, "worker-here").user_attrs["goes_on"] == "r1"
    lock.release()


def test_to_try_again_does_not_forget_where_a_trial_was(machine):
    here = machine(section="sampler: random, trials: 1, seeds: 0")
    lost = take(here, "nobody")  # holds this lock: it is dead at once
    drawn = here.chosen(lost)
    lost.set_user_attr("run", "r1")
    here = machine(section="sampler: random, trials: 1, seeds: 0", again=True)
    retry = take(here, "nobody")
    assert retry.user_attrs["goes_on"] == "r1" and here.chosen(retry) == drawn


def test_what_a_killed_process_has_left_waiting_is_no_more_than_it_should_be(machine):
    here = machine()
    with here.lock("worker"):
        here.study.enqueue_trial({}, user_attrs={"item": 2})
        here.study.enqueue_trial({"seed": 1}, user_attrs={"item": "again 7, seed 0"})
        first = take(here, "worker")
        assert first.user_attrs["item"] == 2
        here.study.sampler = study.sampler(here, 2)
        other = optuna.create_study(sampler=study.sampler(here, 2))
        assert here.chosen(first) == here.chosen(other.ask()), "it draws what it would have"
        assert take(here, "worker").user_attrs["item"] == 0, "nobody has asked for the second one"


def test_a_search_is_closed_once(machine):
    here = machine()
    with here.lock("worker"):
        end(here, take(here, "worker"))
        here.study.set_user_attr("closed", True)
        assert take(here, "worker").user_attrs["item"] == "again 0, seed 0"
        assert take(machine(), "worker").user_attrs["item"] == 1, "typed again, the command goes on"


def test_the_order_of_what_is_searched_makes_another_study(tiny):
    def name(section):
        return study.open_sweep(load_values(tiny, [f"sweep={section}"])).study.study_name

    both = "{space: {seed: [1, 2]}, objectives: {cider: maximize, latency: minimize}}"
    assert name(both) != name(both.replace("cider: maximize, latency: minimize", "latency: minimize, cider: maximize"))
    grid = "{space: {seed: [1, 2], train.epochs: [1, 2]}, sampler: grid}"
    assert name(grid) != name(grid.replace("seed: [1, 2], train.epochs: [1, 2]", "train.epochs: [1, 2], seed: [1, 2]"))
    assert name(grid) == name(grid[:-1] + ", timeout: 9, seeds: 5}")


@pytest.mark.parametrize(("epochs", "attempts"), [([0, 0, 0], 3), ([1, 2, 2, 2], 4)])
def test_what_kills_every_process_is_given_up(machine, epochs, attempts):
    here = machine(section="sampler: random, trials: 1, seeds: 0")
    for epoch in epochs:
        trial = take(here, "nobody")  # holds this lock: it is dead at once
        here.chosen(trial)
        if epoch:
            trial.set_user_attr("epoch", epoch)
    assert take(here, "nobody") is None and len(here.study.get_trials()) == attempts
    with pytest.raises(ValueError, match="process died.*--resume"):
        here.best()
    here = machine(section="sampler: random, trials: 1, seeds: 0", again=True)
    assert take(here, "nobody") is not None


def test_a_kill_between_two_steps_of_beginning_loses_nothing(machine):
    here = machine(section="sampler: grid, seeds: 0")
    here.study.enqueue_trial({"seed": 1}, user_attrs={"item": 0})  # and then it was killed
    with here.lock("worker"):
        seen = [take(here, "worker").user_attrs["item"] for _ in range(8)]
        assert seen == list(range(8)) and take(here, "worker") is None
    assert len(here.study.get_trials()) == 8


def test_a_storage_that_cannot_be_opened_is_one_sentence(tiny):
    for url in ("postgresql+nothing://a:b@127.0.0.1/c", "nonsense", "sqlite:/study.db", "sqlite:////dev/null/study.db"):
        values = load_values(tiny, [f"sweep={{space: {{seed: [1, 2]}}, storage: '{url}'}}"])
        with pytest.raises(ValueError, match="sweep.storage cannot be opened .*expected an Optuna URL"):
            study.open_sweep(values)
