"""What models said, kept: no model is asked twice for the same."""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

_AT_ONCE = 500


class Answers:
    """A cache of answers in SQLite, by a hash of everything that the answer depends on.

    Args:
        path: The database; it is made.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")  # the last answers may go with the power, never the file
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, asker TEXT NOT NULL, answer TEXT NOT NULL, "
            "tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, seconds REAL NOT NULL)"
        )

    def get(self, keys: Sequence[str]) -> dict[str, str]:
        """Give the answers that there are."""
        known: dict[str, str] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            known.update(self._database.execute(f"SELECT key, answer FROM answers WHERE key IN ({marks})", some))
        return known

    def put(self, asker: str, rows: Iterable[tuple[str, str, int, int, float]]) -> None:
        """Keep answers, all of them or none.

        Args:
            asker: Who gave them.
            rows: Key, answer, tokens read and written, and seconds of each.
        """
        with self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)", [(row[0], asker, *row[1:]) for row in rows]
            )

    def average(self, asker: str) -> tuple[int, float, float, float]:
        """Give the number of answers of an asker, and their mean seconds, tokens read and tokens written."""
        query = "SELECT count(*), avg(seconds), avg(tokens_in), avg(tokens_out) FROM answers WHERE asker = ?"
        num, *means = self._database.execute(query, (asker,)).fetchone()
        seconds, tokens_in, tokens_out = (mean or 0.0 for mean in means)
        return num, seconds, tokens_in, tokens_out
