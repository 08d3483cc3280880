"""What `--resume` goes on from: the newest checkpoint of an unfinished run that is whole and of the same spec."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from idc_data.whole import whole
from idc_data.wording import faults
from pydantic import TypeAdapter, ValidationError

from idc_run.checkpoint import Checkpoint, load_checkpoint, restore_training
from idc_run.progress import Progress
from idc_run.spec import Spec
from idc_run.tracking.store import store
from idc_run.training.optim import build_optimizer

BEST, LAST = "best.safetensors", "last.safetensors"
"""What training leaves in the folder of a run: the checkpoint to use, and until it ends the newest one to resume from.

The ones before it are `last.1.safetensors`, `last.2.safetensors` and so on.
"""


@dataclass(frozen=True)
class Unfinished:
    """A run that stopped before its end.

    Attributes:
        folder: Of its checkpoints.
        checkpoint: Where it goes on.
    """

    folder: Path
    checkpoint: Checkpoint


def folder_of(spec: Spec) -> Path:
    """Where checkpoints of a spec lie, one folder per run in it."""
    return store() / "checkpoints" / f"{spec.name}-{spec.fingerprint()}"


def kept(folder: Path) -> list[Path]:
    """List the checkpoints that a run can resume from, the newest first."""
    return sorted(folder.glob("last*.safetensors"), key=lambda path: (len(path.name), path.name))


def make_room(folder: Path, keep: int) -> None:
    """Keep the newest checkpoint under the name of the one before, and so on, before a new one takes its place.

    Args:
        folder: Of the run.
        keep: How many checkpoints to keep, the new one included.

    Raises:
        OSError: The folder cannot be written.
    """
    names = [LAST, *(f"last.{number}.safetensors" for number in range(1, keep))]
    for newer, older in reversed(list(pairwise(names))):
        if (folder / newer).is_file():
            with whole(folder / older) as unfinished:
                try:
                    os.link(folder / newer, unfinished)
                except OSError:  # a file system without hard links
                    shutil.copy2(folder / newer, unfinished)


def remove_kept(folder: Path) -> None:
    """Remove what a run would resume from: it has ended."""
    for path in kept(folder):
        path.unlink(missing_ok=True)


def find_unfinished(folder: Path, spec: Spec, say: Callable[[str], None]) -> Unfinished:
    """Find the newest unfinished run of a spec; one whose last checkpoint is damaged goes on from its best.

    Args:
        folder: With a folder for each run of the spec.
        spec: The spec.
        say: Told which checkpoints are passed over, and why.

    Raises:
        ValueError: There is none that can be gone on with.
    """
    found = sorted(folder.glob("*/last*.safetensors"), key=lambda path: path.stat().st_mtime, reverse=True)
    if not found:
        raise ValueError(
            f"nothing to resume: {folder} has no unfinished run of this very spec; "
            "give the same file and the same -s as the run that stopped, or leave out --resume"
        )
    for run in dict.fromkeys(path.parent for path in found):
        for path in (*kept(run), run / BEST):
            if path.is_file():
                try:
                    return open_unfinished(path, spec)
                except ValueError as error:
                    say(f"passed over: {error}")
    raise ValueError(f"nothing to resume: no checkpoint in {folder} is whole; without --resume a new run begins")


def open_unfinished(path: Path, spec: Spec) -> Unfinished:
    """Read a checkpoint to go on from, and see that training can.

    Raises:
        ValueError: It is damaged, or of another spec.
    """
    checkpoint = load_checkpoint(path)
    if checkpoint.spec.fingerprint() != spec.fingerprint():
        raise ValueError(f"{path} is of another spec, {checkpoint.spec.name!r} {checkpoint.spec.fingerprint()}")
    try:
        TypeAdapter(Progress).validate_python(checkpoint.progress)
        with torch.random.fork_rng(devices=[]):
            model = checkpoint.build()
        restore_training(build_optimizer(model, spec.train.optimizer), checkpoint.training)
    except ValidationError as error:
        raise ValueError(f"{path} is damaged: its progress: {faults(error)}") from error
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return Unfinished(path.parent, checkpoint)
