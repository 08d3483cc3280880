"""The ratings of a study in one SQLite file: its items, and every answer as soon as it arrives."""

import json
import re
import sqlite3
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict

from idc_eval.prediction import Prediction
from idc_eval.rating.plan import Item, Plan, Settings
from idc_eval.rating.questions import QUESTIONS

_VERSION = 1
_DAY = 86_400_000  # milliseconds
_TABLES = """
CREATE TABLE study (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE images (pair TEXT PRIMARY KEY, before TEXT NOT NULL, after TEXT NOT NULL);
CREATE TABLE items (id TEXT PRIMARY KEY, pair TEXT NOT NULL REFERENCES images, captions TEXT NOT NULL,
                    systems TEXT NOT NULL, accepted TEXT NOT NULL);
CREATE TABLE predictions (system TEXT NOT NULL, pair TEXT NOT NULL REFERENCES images, prediction TEXT NOT NULL,
                          PRIMARY KEY (system, pair));
CREATE TABLE judgements (number INTEGER PRIMARY KEY, rater TEXT NOT NULL, item TEXT NOT NULL REFERENCES items,
                         question TEXT NOT NULL, value INTEGER NOT NULL, flipped INTEGER NOT NULL,
                         time INTEGER NOT NULL, UNIQUE (rater, item, question, time));
"""


def rater_name(name: str) -> str:
    """Normalise a rater's name to lower case, so that "Ann" continues where "ann" stopped.

    Raises:
        ValueError: The name is empty, too long, or has invalid characters.
    """
    name = " ".join(unicodedata.normalize("NFC", name).lower().split())
    if not re.fullmatch(r"\w[\w .@'-]{0,39}", name):
        raise ValueError("a rater's name is 1 to 40 letters, digits, spaces or . @ ' - _, and begins with a letter")
    return name


def _as_stored(name: str) -> str:
    if rater_name(name) != name:
        raise ValueError(f"expected {rater_name(name)!r}")
    return name


class Judgement(BaseModel):
    """One answer of one rater.

    Attributes:
        rater: See `rater_name`.
        item: Id of the item.
        question: Name of the question.
        value: The answer, see `QUESTIONS`.
        flipped: Whether the item's second caption was on the left.
        time: Milliseconds since 1970, by the rater's clock.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    rater: Annotated[str, AfterValidator(_as_stored)]
    item: str
    question: str
    value: int
    flipped: bool = False
    time: int


class Ratings:
    """A study and its answers. Use it in `with`; added answers survive a crash of the process.

    Attributes:
        path: The SQLite file.
        settings: Settings of the study.
        files: Path of each system's predictions file.
        same: See `Plan`.
        items: Items by id.
        questions: Questions by name.

    Args:
        path: The SQLite file of an existing study; see `create` for a new one.

    Raises:
        ValueError: The database is not a study, or of another version.
        OSError: The file does not exist or is not a database.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"there is no file of ratings {str(path)!r}; create one with `idc-eval rate`")
        self.path = path
        with self._errors():
            self._database = sqlite3.connect(path, timeout=10, isolation_level=None)
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version != _VERSION:
                self._database.close()
                raise ValueError(f"{path} is not a file of ratings of this version of idc-eval; choose another file")
            _make_safe(self._database)
            rows = dict(self._database.execute("SELECT name, value FROM study"))
            self.settings = Settings.model_validate_json(rows["settings"])
            self.files: dict[str, str] = json.loads(rows["files"])
            self.same = float(rows["same"])
            fields = self._database.execute("SELECT id, pair, captions, systems, accepted FROM items ORDER BY id")
            self.items = {name: _read_item(name, pair, *lists) for name, pair, *lists in fields}
        self.questions = {question.name: question for question in QUESTIONS[self.settings.mode]}

    @classmethod
    def create(cls, path: Path, plan: Plan) -> Self:
        """Begin a study in a new file, whole or not at all.

        Raises:
            OSError: The file exists already, or cannot be written.
        """
        if path.exists() and path.stat().st_size:
            raise FileExistsError(f"{path} exists and ratings are never overwritten; choose another file")
        with _sqlite_errors(path):
            database = sqlite3.connect(path, timeout=10, isolation_level=None)
            try:
                _make_safe(database)
                with database:
                    database.execute("BEGIN IMMEDIATE")
                    _fill(database, plan)
            finally:
                database.close()
        return cls(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def images(self) -> dict[str, tuple[str, str]]:
        """Return before and after images of each pair, as data URLs."""
        with self._errors():
            return {pair: (before, after) for pair, before, after in self._database.execute("SELECT * FROM images")}

    def predictions(self, system: str) -> list[Prediction]:
        """Return a system's predictions for the pairs of the study."""
        with self._errors():
            rows = self._database.execute("SELECT prediction FROM predictions WHERE system = ? ORDER BY pair", [system])
            return [Prediction.model_validate_json(text) for (text,) in rows]

    def add(self, judgements: Iterable[Judgement]) -> int:
        """Store answers, all or none; they are on disk when this returns. Answers stored already are skipped.

        Returns:
            Number of new answers.

        Raises:
            ValueError: An answer's question is not in this study, or its value is not allowed.
            OSError: The file cannot be written.
        """
        judgements = list(judgements)
        for judgement in judgements:
            self._check(judgement)
        rows = [(j.rater, j.item, j.question, j.value, int(j.flipped), j.time) for j in judgements]
        insert = (
            "INSERT OR IGNORE INTO judgements (rater, item, question, value, flipped, time) VALUES (?, ?, ?, ?, ?, ?)"
        )
        with self._errors(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            before = self._database.total_changes
            self._database.executemany(insert, rows)
            return self._database.total_changes - before

    def last(self, rater: str | None = None) -> list[Judgement]:
        """Return the answers of one rater or all; of changed answers, the last."""
        ordered = (
            "SELECT rater, item, question, value, flipped, time FROM judgements "
            "WHERE rater = ? OR ? IS NULL ORDER BY time, number"
        )
        with self._errors():
            rows = list(self._database.execute(ordered, [rater, rater]))
        latest = {row[:3]: row for row in rows}
        return [
            Judgement(rater=name, item=item, question=question, value=value, flipped=bool(flipped), time=at)
            for name, item, question, value, flipped, at in latest.values()
        ]

    def _check(self, judgement: Judgement) -> None:
        if judgement.item not in self.items:
            raise ValueError(f"there is no item {judgement.item[:40]!r} in this study; is the answer for another one?")
        if judgement.question not in self.questions:
            raise ValueError(f"question is {judgement.question[:40]!r}, expected one of: {', '.join(self.questions)}")
        values = self.questions[judgement.question].answers
        if judgement.value not in values:
            raise ValueError(f"value is {judgement.value}, expected one of: {', '.join(map(str, values))}")
        if judgement.flipped and self.settings.mode != "prefer":
            raise ValueError("flipped is true, but the item has one caption; expected false")
        if not 0 < judgement.time < time.time() * 1000 + _DAY:
            raise ValueError(f"time is {judgement.time}, expected milliseconds since 1970; is the clock right?")

    def _errors(self) -> AbstractContextManager[None]:
        return _sqlite_errors(self.path)


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(f"{path}: {error}; expected a SQLite file of ratings that can be written") from error


def _make_safe(database: sqlite3.Connection) -> None:
    # FULL: an answer is on disk before the page gets its confirmation.
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        database.execute(f"PRAGMA {pragma}")


def _fill(database: sqlite3.Connection, plan: Plan) -> None:
    for statement in _TABLES.split(";"):
        database.execute(statement)
    study = {"settings": plan.settings.model_dump_json(), "files": json.dumps(plan.files), "same": repr(plan.same)}
    database.executemany("INSERT INTO study VALUES (?, ?)", study.items())
    images = [(pair, before, after) for pair, (before, after) in plan.images.items()]
    database.executemany("INSERT INTO images VALUES (?, ?, ?)", images)
    items = [
        (item.id, item.pair, *(json.dumps(part) for part in (item.captions, item.systems, item.accepted)))
        for item in plan.items
    ]
    database.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?)", items)
    predictions = [
        (name, p.id, p.model_dump_json(exclude_none=True)) for name, ps in plan.predictions.items() for p in ps
    ]
    database.executemany("INSERT INTO predictions VALUES (?, ?, ?)", predictions)
    database.execute(f"PRAGMA user_version = {_VERSION}")


def _read_item(name: str, pair: str, captions: str, systems: str, accepted: str) -> Item:
    lists = {"captions": json.loads(captions), "systems": json.loads(systems), "accepted": json.loads(accepted)}
    return Item(id=name, pair=pair, **lists)
