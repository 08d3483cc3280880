"""Tracking of a run from start to end: its provenance, its storage, and its status."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from idc_run.console import Console
from idc_run.progress import Progress
from idc_run.spec import Spec
from idc_run.tracking import provenance
from idc_run.tracking.generation import source
from idc_run.tracking.server import Outage, explain
from idc_run.tracking.tracker import Ended, Tracker, open_tracker, recording
from idc_run.training.data import Data, datasets
from idc_run.training.processes import rank
from idc_run.training.role import Role
from idc_run.training.unfinished import Unfinished, folder_of, remove_kept


@dataclass(frozen=True)
class Run:
    """A run in progress.

    Attributes:
        id: The tracker's id of the run.
        folder: The folder of its checkpoints.
        tracker: Records the run.
    """

    id: str
    folder: Path
    tracker: Tracker


@contextmanager
def tracking(spec: Spec, role: Role, data: Data, device: torch.device, last: Unfinished | None = None) -> Iterator[Run]:
    """Begin or resume a run, record its provenance, and end it whatever happens.

    Only the first of several processes tracks it. A run that succeeds or is ended on purpose cannot be resumed.

    Args:
        spec: The experiment.
        role: Determines where the run is stored, and the advice after an outage.
        data: The data of the run.
        device: The device of the training.
        last: The unfinished run to resume.

    Raises:
        Outage: MLflow or one of its stores failed.
    """
    place, completed, first = role.place(spec), spec.completed(), rank() == 0
    tracker = open_tracker(spec.tracking if first else "off", place.experiment, f"test/{spec.eval.select}")
    came_from = origin(spec, data, device)
    tags = provenance.tags(spec, came_from) | source(completed["data"]["dataset"]) | dict(place.tags)
    progress, folder = (last.checkpoint.progress, last.folder) if last else ({}, None)
    made: list[Path] = []
    begin = (place.name, completed, tags, datasets(spec, data), progress.get("run_id", ""))
    try:
        with recording(tracker, *begin) as run_id:
            if last is None:
                tracker.json({"spec": completed, "provenance": came_from})
            else:  # an earlier resumption at this step lost its work, so it is overwritten
                tracker.json({provenance.resumed_at(progress["step"]): came_from})
            folder = folder or folder_of(spec) / run_id
            made = _made(folder) if first else []
            role.begun(run_id)
            yield Run(run_id, folder, tracker)
        if first:
            remove_kept(folder)
    except BaseException as error:
        if folder and isinstance(error, Ended):
            remove_kept(folder)
        with suppress(OSError):  # folders that are not empty remain
            for empty in made:
                empty.rmdir()
        if fault := explain(error):
            raise Outage(f"{fault}; {role.remedy(folder)}") from error
        raise


def _made(folder: Path) -> list[Path]:
    """Create a folder and its parents; return the new ones, the deepest first."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return new


def origin(spec: Spec, data: Data, device: torch.device) -> dict[str, Any]:
    """Return the provenance of a run that starts now."""
    return provenance.collect(spec, {split: digest for split, (_, digest) in datasets(spec, data).items()}, device)


class Watcher:
    """Passes the progress of training to the tracker, the console and the role."""

    def __init__(self, tracker: Tracker, console: Console, role: Role) -> None:
        self._tracker, self._console, self._role = tracker, console, role

    def step(self, progress: Progress, losses: dict[str, float] | None) -> None:
        """Log the losses and advance the progress bar."""
        if losses:
            self._tracker.metrics(losses, progress.step)
        self._console.step(progress.step, losses)

    def epoch(self, progress: Progress, scores: dict[str, float]) -> None:
        """Log and print the scores."""
        self._tracker.metrics(scores, progress.step)
        self._console.epoch(progress.epoch, scores, best=progress.best_epoch == progress.epoch)
        self._role.epoch(progress, scores)
