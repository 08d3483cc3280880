"""What models said, kept: no model is asked twice for the same."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from idc_data.generate.stage import identity


class Answers:
    """A cache of answers in SQLite, by a hash of everything that the answer depends on.

    Args:
        path: The database; it is made.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")
        self.asked = 0
        """How many answers had to be asked for."""

    def ask(
        self,
        questions: Sequence[Any],
        model: Any,
        answer: Callable[[Sequence[int]], Sequence[str]],
        *,
        batch_size: int,
    ) -> Iterator[str]:
        """Give the answers in order; those that are not known are asked for in batches and kept at once.

        Args:
            questions: Plain values: each with all that makes it differ from the others.
            model: Plain values: who is asked, and with what settings.
            answer: Asks the model the questions at these indices.
            batch_size: Most questions at a time.
        """
        keys = [identity([model, question]) for question in questions]
        missing = {key: index for index, key in reversed(list(enumerate(keys))) if self._known(key) is None}
        unknown = sorted(missing.values())
        for start in range(0, len(unknown), batch_size):
            some = unknown[start : start + batch_size]
            said = answer(some)
            rows = [(keys[index], text) for index, text in zip(some, said, strict=True)]
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)
            self.asked += len(rows)
        for key in keys:
            known = self._known(key)
            assert known is not None
            yield known

    def _known(self, key: str) -> str | None:
        row = self._database.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None
