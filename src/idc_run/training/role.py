"""The role of a run: what is different where it stands alone and where it is a trial of a sweep."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from idc_run.console import Console
from idc_run.progress import Progress
from idc_run.spec import Spec
from idc_run.tracking.artifacts import Tested
from idc_run.training.unfinished import LAST, Unfinished, find_unfinished, folder_of


@dataclass(frozen=True)
class Place:
    """Where MLflow keeps a run: the experiment in which it is compared with others, its name there, more tags."""

    experiment: str
    name: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Finished:
    """A run that was tested, for people.

    Attributes:
        spec: Of the run.
        tested: What the test found.
        best: The checkpoint.
        registered: Its version in the registry, and a sentence on the champion; None if it was not registered.
        where: Where the tracker keeps the report; empty if nowhere.
    """

    spec: Spec
    tested: Tested
    best: Path
    registered: tuple[str, str] | None
    where: str


@runtime_checkable
class Role(Protocol):
    """What an experiment asks of whoever runs it."""

    @property
    def tests(self) -> bool:
        """Whether the best checkpoint is tested and registered; else the run ends with its validation."""
        ...

    def place(self, spec: Spec) -> Place:
        """Say where MLflow keeps the run."""
        ...

    def unfinished(self, spec: Spec, say: Callable[[str], None]) -> Unfinished | None:
        """Give what the run goes on from, None if it begins.

        Raises:
            ValueError: There is nothing to go on from, and there should be.
        """
        ...

    def begun(self, run_id: str) -> None:
        """Take note that the run has begun."""
        ...

    def epoch(self, progress: Progress, scores: dict[str, float]) -> None:
        """Take note of an epoch; `idc_run.tracking.tracker.Ended` ends the run."""
        ...

    def show(self, console: Console, finished: Finished) -> None:
        """Show a person what the test found."""
        ...

    def remedy(self, folder: Path | None) -> str:
        """Say how to go on with a run that something outside has ended; `folder` has its checkpoints, if any."""
        ...


@dataclass(frozen=True)
class Alone:
    """A run of its own.

    Attributes:
        name: By default the spec's.
        tags: Of the run, beside its own.
        resume: Go on with the newest unfinished run of the same spec.
    """

    name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    resume: bool = False

    @property
    def tests(self) -> bool:
        """Always."""
        return True

    def place(self, spec: Spec) -> Place:
        """Among all runs that were scored alike."""
        return Place(spec.eval.protocol, self.name or spec.name, self.tags)

    def unfinished(self, spec: Spec, say: Callable[[str], None]) -> Unfinished | None:
        """Find the newest one of the spec, if asked to."""
        return find_unfinished(folder_of(spec), spec, say) if self.resume else None

    def begun(self, run_id: str) -> None:
        """Nobody has to know."""

    def epoch(self, progress: Progress, scores: dict[str, float]) -> None:
        """Nobody has to know."""

    def show(self, console: Console, finished: Finished) -> None:
        """Print the scores, three captions, and what to type next."""
        tested = finished.tested
        ceiling = tested.ceiling.values if tested.ceiling else {}
        where = finished.registered, finished.where
        console.finished(finished.spec, tested.scores, ceiling, tested.predictions, finished.best, *where)

    def remedy(self, folder: Path | None) -> str:
        """Name the checkpoint that is kept, if one is."""
        last = folder / LAST if folder else None
        if last and last.is_file():
            return f"{last} is kept, and the same command with --resume goes on from it"
        return "no step of the run is kept yet, so give the command again"
