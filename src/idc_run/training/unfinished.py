"""What `--resume` goes on from: the newest checkpoint of an unfinished run that is whole and of the same spec."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from idc_data.wording import faults
from pydantic import TypeAdapter, ValidationError

from idc_run.checkpoint import Checkpoint, load_checkpoint, restore_training
from idc_run.progress import Progress
from idc_run.spec import Spec
from idc_run.tracking.store import store
from idc_run.training.optim import build_optimizer

BEST, LAST = "best.safetensors", "last.safetensors"
"""What training leaves in the folder of a run: the checkpoint to use, and while it is not over the one to go on from.
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


def find_unfinished(folder: Path, spec: Spec, say: Callable[[str], None]) -> Unfinished:
    """Find the newest unfinished run of a spec; one whose last checkpoint is damaged goes on from its best.

    Args:
        folder: With a folder for each run of the spec.
        spec: The spec.
        say: Told which checkpoints are passed over, and why.

    Raises:
        ValueError: There is none that can be gone on with.
    """
    runs = sorted(folder.glob(f"*/{LAST}"), key=lambda path: path.stat().st_mtime, reverse=True)
    if not runs:
        raise ValueError(
            f"nothing to resume: {folder} has no unfinished run of this very spec; "
            "give the same file and the same -s as the run that stopped, or leave out --resume"
        )
    for last in runs:
        for path in (last, last.with_name(BEST)):
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
