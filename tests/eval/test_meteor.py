"""METEOR's Java processes: the same values however many there are, never left behind, never waited for without end."""

import gc
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from idc_eval import Meteor
from idc_eval.meteor import MAX_WORDS
from pycocoevalcap.meteor import meteor as coco_meteor

THINGS = ["car", "truck", "man", "woman", "dog", "tree", "house", "road", "sign", "bench", "box", "chair", "cube"]
COLORS = ["red", "blue", "green", "brown", "gray", "white", "black", "yellow"]
ALIVE = """
import sys
from idc_eval import Meteor
meteor = Meteor()
meteor.score(["a red cube"], [["the red cube"]])
print("ready", flush=True)
sys.stdin.read()
"""


def java_children(parent: int | None = None) -> set[str]:
    """The Java processes (also dead ones not waited for) of this process, or of another one."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = stat.read_text().rsplit(")", 1)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(rest.split()[1]) == (parent or os.getpid()) and "java" in name:
            found.add(stat.parent.name)
    return found


def many(num: int) -> tuple[list[str], list[list[str]]]:
    """So many different hypotheses with two references, some with other signs than letters."""
    hypotheses, references = [], []
    for n in range(num):
        thing, color = THINGS[n % len(THINGS)], COLORS[n // len(THINGS) % len(COLORS)]
        also = " ".join(COLORS[: n % 8]) + (" -lrb- 3.5 -rrb-" if n % 3 == 0 else "")
        hypotheses.append(f"the {color} {thing} has left picture {n} {also}")
        references.append([f"a {thing} is not in picture {n} anymore", f"the {thing} 's {color} spot is n't there"])
    return hypotheses, references


@pytest.mark.slow
def test_values_are_the_same_however_many_processes():
    captions = many(6_100)
    found = {}
    for processes in (1, 3):
        before = java_children()
        with Meteor(processes=processes) as meteor:
            found[processes] = meteor.score(*captions)
            # Two thirds of these are plain.
            assert len(java_children() - before) == {1: 2, 3: 3 + 2}[processes]
        assert java_children() == before
    assert found[1] == found[3]
    assert len(set(found[1][1])) > 10


@pytest.mark.slow
def test_a_caption_scores_the_same_alone_and_after_others(meteor):
    captions = ["the lorry drove off"], [["the truck went away", "the truck departed"]]
    with Meteor() as fresh:
        alone = fresh.score(*captions)
    meteor.score(*many(20))  # starts without the words of the caption
    assert meteor.score(*captions) == alone
    (hypothesis,), (references,) = captions
    hypotheses, others = many(20)
    assert meteor.score([*hypotheses, hypothesis], [*others, references])[1][-1] == alone[0] > 0.2


@pytest.mark.slow
def test_several_threads_may_use_one(meteor):
    sets = [(hypotheses, [*references]) for hypotheses, references in (many(num) for num in range(5, 11))]
    alone = [meteor.score(*captions) for captions in sets]
    with Meteor() as shared, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda captions: shared.score(*captions), sets)) == alone


@pytest.mark.slow
@pytest.mark.parametrize("part", ["a ", "a-", "a'", "http://a/", "(", "\N{GRINNING FACE}", "漢", "\u01ce", "a" * 1_000])
def test_a_caption_without_end_is_cut(meteor, part):
    long = (part * 50_000)[:50_000]
    captions = [long, "the cube moved"], [[long], ["the cube moved", long]]
    value, (_, other) = meteor.score(*captions)
    assert 0 < value <= 1
    assert other == meteor.score(["the cube moved"], [["the cube moved"]])[0]


@pytest.mark.slow
def test_no_more_words_are_cut_than_said(meteor):
    words = [THINGS[n % len(THINGS)] + str(n) for n in range(MAX_WORDS + 1)]
    whole, shorter = " ".join(words[:-1]), " ".join(words[:-2])
    counts = meteor.counts([whole, " ".join(words), shorter], [[whole]] * 3)
    assert np.array_equal(counts[0], counts[1])
    assert counts[0, 0] == MAX_WORDS
    assert counts[2, 0] == MAX_WORDS - 1


def test_one_that_gives_no_answer_is_ended_and_told():
    before = java_children()
    with Meteor(timeout=0.01) as meteor:
        with pytest.raises(TimeoutError, match=r"no answer within .* 'SCORE \|\|\| b \|\|\| a'"):
            meteor.score(["a"], [["b"]])
        assert java_children() == before
        meteor.stop()


@pytest.mark.slow
def test_one_that_hangs_with_its_pipe_full_is_ended():
    before = java_children()
    with Meteor(timeout=60) as meteor:
        hypotheses, references = many(5_000)
        meteor.score(hypotheses, references)  # it knows all words now, and is kept
        meteor.timeout = 0.5
        for java in java_children() - before:
            os.kill(int(java), signal.SIGSTOP)
        with pytest.raises(TimeoutError, match="no answer within 0.5 s"):
            meteor.score([f"{hypothesis} left" for hypothesis in hypotheses], references)
    assert java_children() == before


def test_one_that_dies_tells_why(monkeypatch):
    monkeypatch.setattr(coco_meteor, "METEOR_JAR", "nowhere.jar")
    before = java_children()
    with Meteor() as meteor, pytest.raises(ChildProcessError, match="Unable to access jarfile nowhere.jar.*leave `met"):
        meteor.score(["a"], [["b"]])
    assert java_children() == before


@pytest.mark.slow
def test_one_that_is_killed_is_told_and_replaced(meteor):
    before = java_children()
    with Meteor() as own:
        expected = own.score(["a"], [["a"]])
        (java,) = java_children() - before
        os.kill(int(java), signal.SIGKILL)
        with pytest.raises(ChildProcessError, match="ended with code -9"):
            own.score(["a a"], [["a"]])
        assert java_children() == before
        assert own.score(["a"], [["a"]]) == expected
    assert java_children() == before


@pytest.mark.slow
def test_none_is_left_behind_after_an_error_or_when_forgotten():
    before = java_children()
    with pytest.raises(RuntimeError), Meteor() as meteor:
        meteor.score(["a"], [["a"]])
        assert len(java_children() - before) == 1
        raise RuntimeError
    assert java_children() == before
    forgotten = Meteor()
    forgotten.score(["a"], [["a"]])
    assert len(java_children() - before) == 1
    with pytest.warns(ResourceWarning, match="Implicitly cleaning up"):
        del forgotten
        gc.collect()
    assert java_children() == before


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_none_outlives_python(end):
    with subprocess.Popen(
        [sys.executable, "-c", ALIVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as python:
        assert python.stdout and python.stdout.readline() == b"ready\n"
        (java,) = java_children(python.pid)
        python.send_signal(end)
        python.wait()
    while Path("/proc", java).exists():  # as long as it takes; the test has a time limit
        time.sleep(0.05)


def test_a_number_of_processes_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="processes is 0, expected 1 or more"):
        Meteor(processes=0)
