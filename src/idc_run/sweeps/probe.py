"""Draws from a space to check before training that all of it gives valid specs."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from idc_run.space import Node, conditions


class Probe:
    """Draws like a trial, but prefers values not drawn yet, and then values that conditions require.

    Args:
        space: The search space; of a range, the probe draws the ends and values that conditions require.
    """

    def __init__(self, space: Mapping[str, Node]) -> None:
        self.params: dict[str, Any] = {}
        self.seen: set[tuple[str, Any]] = set()
        self._random = random.Random(0)
        self._asked: dict[str, list[Any]] = {}
        for node in space.values():
            for path, wanted in conditions(node).items():
                self._asked.setdefault(path.removesuffix(".name"), []).append(wanted)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Choose one item of a list."""
        fresh = [choice for choice in choices if (name, choice) not in self.seen]
        asked = [choice for choice in choices if choice in self._asked.get(name.removesuffix(".name"), ())]
        likely = asked if asked and self._random.random() < 0.7 else choices
        self.params[name] = chosen = self._random.choice(fresh or likely)
        self.seen.add((name, chosen))
        return chosen

    def suggest_int(self, name: str, low: float, high: float, **_: Any) -> Any:
        """Choose a number."""
        asked = [value for value in self._asked.get(name, ()) if low < value < high]
        return self.suggest_categorical(name, (low, high, *asked))

    suggest_float = suggest_int
