"""Finds the checkpoint for `--resume`: the newest undamaged one of an unfinished run of the same spec."""

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
"""Files in the folder of a run: the best checkpoint and, until training ends, the newest one to resume from.

Older ones are `last.1.safetensors`, `last.2.safetensors` and so on.
"""


@dataclass(frozen=True)
class Unfinished:
    """A run that stopped before its end.

    Attributes:
        folder: The folder of its checkpoints.
        checkpoint: The checkpoint to resume from.
    """

    folder: Path
    checkpoint: Checkpoint


def folder_of(spec: Spec) -> Path:
    """Return the folder for the runs of a spec, with one subfolder per run."""
    return store() / "checkpoints" / f"{spec.name}-{spec.fingerprint()}"


def kept(folder: Path) -> list[Path]:
    """List the checkpoints that a run can resume from, the newest first."""
    return sorted(folder.glob("last*.safetensors"), key=lambda path: (len(path.name), path.name))


def make_room(folder: Path, keep: int) -> None:
    """Rename the existing checkpoints to make room for a new one: `last` becomes `last.1`, and so on.

    Args:
        folder: The folder of the run.
        keep: Number of checkpoints to keep, including the new one.

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
    """Remove the checkpoints to resume from, because the run has ended."""
    for path in kept(folder):
        path.unlink(missing_ok=True)


def find_unfinished(folder: Path, spec: Spec, say: Callable[[str], None]) -> Unfinished:
    """Find the newest unfinished run of a spec; if its last checkpoints are damaged, use its best one.

    Args:
        folder: The folder with one subfolder per run of the spec.
        spec: The spec.
        say: Called with a message for each checkpoint that is skipped.

    Raises:
        ValueError: There is no run to resume.
    """
    found = sorted(folder.glob("*/last*.safetensors"), key=lambda path: path.stat().st_mtime, reverse=True)
    if not found:
        raise ValueError(
            f"nothing to resume: {folder} has no unfinished run of this spec; "
            "use the same file and the same -s options as the run that stopped, or omit --resume"
        )
    for run in dict.fromkeys(path.parent for path in found):
        for path in (*kept(run), run / BEST):
            if path.is_file():
                try:
                    return open_unfinished(path, spec)
                except ValueError as error:
                    say(f"skipped: {error}")
    raise ValueError(f"nothing to resume: all checkpoints in {folder} are damaged; omit --resume to start a new run")


def open_unfinished(path: Path, spec: Spec) -> Unfinished:
    """Read a checkpoint to resume from, and check that training can continue.

    Raises:
        ValueError: The checkpoint is damaged, or belongs to another spec.
    """
    checkpoint = load_checkpoint(path)
    if checkpoint.spec.fingerprint() != spec.fingerprint():
        raise ValueError(f"{path} belongs to another spec, {checkpoint.spec.name!r} {checkpoint.spec.fingerprint()}")
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
