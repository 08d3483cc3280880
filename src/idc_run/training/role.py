"""The role of a run: the differences between a single run and a trial of a sweep."""

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
    """Where MLflow stores a run: its experiment, its name and additional tags."""

    experiment: str
    name: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Finished:
    """A tested run, for display.

    Attributes:
        spec: The spec of the run.
        tested: The results of the test.
        best: The best checkpoint.
        registered: Its version in the registry, and a sentence about the champion; None if it was not registered.
        where: The tracker's folder or address of the report; empty without a tracker.
    """

    spec: Spec
    tested: Tested
    best: Path
    registered: tuple[str, str] | None
    where: str


@runtime_checkable
class Role(Protocol):
    """The interface between an experiment and its caller."""

    @property
    def tests(self) -> bool:
        """Whether the best checkpoint is tested and registered; otherwise the run ends after validation."""
        ...

    def place(self, spec: Spec) -> Place:
        """Return where MLflow stores the run."""
        ...

    def unfinished(self, spec: Spec, say: Callable[[str], None]) -> Unfinished | None:
        """Return the run to resume, or None to start a new one.

        Raises:
            ValueError: The run should be resumed, but there is nothing to resume.
        """
        ...

    def begun(self, run_id: str) -> None:
        """Handle the start of the run."""
        ...

    def epoch(self, progress: Progress, scores: dict[str, float]) -> None:
        """Handle an epoch; may raise `idc_run.tracking.tracker.Ended` to end the run."""
        ...

    def show(self, console: Console, finished: Finished) -> None:
        """Show the test results."""
        ...

    def remedy(self, folder: Path | None) -> str:
        """Return advice on continuing after an outage; `folder` holds the checkpoints, if any."""
        ...


@dataclass(frozen=True)
class Alone:
    """A single run.

    Attributes:
        name: The name of the run; default: the spec's.
        tags: Additional tags.
        resume: Whether to resume the newest unfinished run of the same spec.
    """

    name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    resume: bool = False

    @property
    def tests(self) -> bool:
        """Return True."""
        return True

    def place(self, spec: Spec) -> Place:
        """Return the experiment of the spec's protocol."""
        return Place(spec.eval.protocol, self.name or spec.name, self.tags)

    def unfinished(self, spec: Spec, say: Callable[[str], None]) -> Unfinished | None:
        """Return the newest unfinished run of the spec, if `resume` is set."""
        return find_unfinished(folder_of(spec), spec, say) if self.resume else None

    def begun(self, run_id: str) -> None:
        """Do nothing."""

    def epoch(self, progress: Progress, scores: dict[str, float]) -> None:
        """Do nothing."""

    def show(self, console: Console, finished: Finished) -> None:
        """Print the scores, three captions, and the next commands."""
        tested = finished.tested
        ceiling = tested.ceiling.values if tested.ceiling else {}
        where = finished.registered, finished.where
        console.finished(finished.spec, tested.scores, ceiling, tested.predictions, finished.best, *where)

    def remedy(self, folder: Path | None) -> str:
        """Name the checkpoint to resume from, if there is one."""
        last = folder / LAST if folder else None
        if last and last.is_file():
            return f"{last} is kept; run the same command with --resume to continue from it"
        return "no checkpoint exists yet, so run the same command again"
