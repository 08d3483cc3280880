import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from idc_models.serving.batching import Batcher, Busy


class Work:
    """Doubles numbers, and waits for a sign before it does."""

    def __init__(self):
        self.batches, self.may_go = [], threading.Event()

    def __call__(self, items, settings):
        self.batches.append((list(items), settings))
        assert self.may_go.wait(30)
        if "bad" in items:
            raise ValueError("a bad item")
        return [(item * 2, settings) for item in items]


@pytest.fixture
def work():
    work = Work()
    yield work
    work.may_go.set()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(32) as pool:
        yield pool


def begin(batcher, work, pool):
    """Have the batcher at work, so that what comes next waits."""
    first = pool.submit(batcher, [0], "a")
    wait_until(lambda: work.batches)
    return first


def wait_until(condition):
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def gathered(batcher, num):
    return lambda: batcher.waiting == num


def test_what_waits_is_computed_together_and_everyone_gets_their_own(work, pool):
    batcher = Batcher(work)
    first = begin(batcher, work, pool)
    requests = {(number, number + 1): pool.submit(batcher, [number, number + 1], "a") for number in range(10, 30)}
    wait_until(gathered(batcher, 40))
    work.may_go.set()
    assert first.result(30) == [(0, "a")]
    for items, request in requests.items():
        assert request.result(30) == [(item * 2, "a") for item in items]
    assert len(work.batches) == 2 and len(work.batches[1][0]) == 40


def test_a_batch_has_one_kind_of_settings_and_the_oldest_goes_first(work, pool):
    batcher = Batcher(work, max_items=3)
    begin(batcher, work, pool)
    requests, asked = [], 0
    for items, settings in [([1], "b"), ([2], "a"), ([3, 4], "b"), ([5], "b"), ([6] * 9, "a")]:
        requests.append(pool.submit(batcher, items, settings))
        asked += len(items)
        wait_until(gathered(batcher, asked))
    work.may_go.set()
    assert [request.result(30)[0][1] for request in requests] == ["b", "a", "b", "b", "a"]
    # A request with more items than a batch has is one by itself.
    assert work.batches[1:] == [([1, 3, 4], "b"), ([2], "a"), ([5], "b"), ([6] * 9, "a")]


def test_too_much_at_a_time_is_refused_at_once(work, pool):
    batcher = Batcher(work, capacity=4)
    begin(batcher, work, pool)
    waits = pool.submit(batcher, [1, 2, 3], "a")
    wait_until(gathered(batcher, 3))
    with pytest.raises(Busy, match="3 pairs are already waiting; try again in a moment"):
        batcher([4, 5], "a")
    work.may_go.set()
    assert waits.result(30) == [(2, "a"), (4, "a"), (6, "a")]
    assert batcher([4, 5], "a") == [(8, "a"), (10, "a")]


def test_who_waits_too_long_is_told_and_costs_no_work(work, pool):
    batcher = Batcher(work)
    begin(batcher, work, pool)
    with pytest.raises(Busy, match="the request waited 0 seconds"):
        batcher([1], "a", 0.2)
    work.may_go.set()
    assert batcher([2], "a", 30) == [(4, "a")]
    assert not any(1 in items for items, _ in work.batches)


def test_a_failure_is_told_to_everyone_in_the_batch_and_ends_nothing(work, pool):
    batcher = Batcher(work)
    begin(batcher, work, pool)
    bad, other = pool.submit(batcher, ["bad"], "a"), pool.submit(batcher, [1], "b")
    wait_until(gathered(batcher, 2))
    work.may_go.set()
    with pytest.raises(ValueError, match="a bad item"):
        bad.result(30)
    assert other.result(30) == [(2, "b")]
