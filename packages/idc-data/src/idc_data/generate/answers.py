"""Stored answers of models, so that no model is asked the same question twice."""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

_AT_ONCE = 500


class Answers:
    """A cache of answers in SQLite, keyed by a hash of everything that an answer depends on.

    Args:
        path: Of the database; it is created if there is none.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")  # a power failure may lose the last answers, never the file
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, asker TEXT NOT NULL, answer TEXT NOT NULL, "
            "tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, seconds REAL NOT NULL)"
        )

    def get(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the answers that are stored, by their keys."""
        known: dict[str, str] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            known.update(self._database.execute(f"SELECT key, answer FROM answers WHERE key IN ({marks})", some))
        return known

    def put(self, asker: str, rows: Iterable[tuple[str, str, int, int, float]]) -> None:
        """Store answers, all of them or none.

        Args:
            asker: Identity of the asker.
            rows: Key, answer, tokens read and written, and seconds of each.
        """
        with self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)", [(row[0], asker, *row[1:]) for row in rows]
            )

    def average(self, asker: str) -> tuple[int, float, float, float]:
        """Return the number of answers of an asker, and their mean seconds, tokens read and tokens written."""
        query = "SELECT count(*), avg(seconds), avg(tokens_in), avg(tokens_out) FROM answers WHERE asker = ?"
        num, *means = self._database.execute(query, (asker,)).fetchone()
        seconds, tokens_in, tokens_out = (mean or 0.0 for mean in means)
        return num, seconds, tokens_in, tokens_out
