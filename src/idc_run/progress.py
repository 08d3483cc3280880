"""The state of a training run, as checkpoints store it and console and tracker report it."""

from dataclasses import dataclass, field


@dataclass
class Progress:
    """Every number that a checkpoint needs to continue training as if it had not been interrupted."""

    step: int = 0
    """Completed optimizer steps."""
    epoch: int = 0
    """Completed epochs."""
    batch: int = 0
    """Completed batches in the current epoch."""
    best: float | None = None
    """Best validation score so far."""
    best_epoch: int = 0
    """Completed epochs at the best checkpoint; among equal scores, the one with the lowest validation loss."""
    best_loss: float | None = None
    """Validation loss of the best checkpoint."""
    risen_epoch: int = 0
    """Completed epochs when the score last rose; patience counts from here."""
    schedule: dict[str, int] = field(default_factory=lambda: {"reductions": 0, "waited": 0})
    losses: list[list[float]] = field(default_factory=list)
    """Training curve: step, mean training loss since the previous point."""
    scores: list[list[float]] = field(default_factory=list)
    """Validation curve: step, validation score."""
    val_losses: list[list[float]] = field(default_factory=list)
    """Validation loss curve: step, validation loss."""
    run_id: str = ""
    """The tracker's id of the run."""
