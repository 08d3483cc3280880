"""Where a training stands: what its checkpoints keep, and what its watchers are told."""

from dataclasses import dataclass, field


@dataclass
class Progress:
    """Where training stands; every number a checkpoint needs to go on as if nothing had happened."""

    step: int = 0
    """Optimizer steps done."""
    epoch: int = 0
    """Epochs done."""
    batch: int = 0
    """Batches done in the epoch that is running."""
    best: float | None = None
    """Best validation score so far."""
    best_epoch: int = 0
    """Epochs done when the best checkpoint was: of several with one score that with the lowest validation loss."""
    best_loss: float | None = None
    """The validation loss of it."""
    risen_epoch: int = 0
    """Epochs done when the score last rose, which is what patience counts from."""
    schedule: dict[str, int] = field(default_factory=lambda: {"reductions": 0, "waited": 0})
    losses: list[list[float]] = field(default_factory=list)
    """Points of the learning curve: step, mean training loss since the last report."""
    scores: list[list[float]] = field(default_factory=list)
    """Points of another curve: step, validation score."""
    val_losses: list[list[float]] = field(default_factory=list)
    """Points of the third: step, validation loss."""
    run_id: str = ""
    """The tracker's name for the run."""
