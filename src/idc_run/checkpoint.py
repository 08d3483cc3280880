"""Checkpoints: one safetensors file with everything needed to resume a run or to caption. No pickle."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from idc_data.tokenizers import Tokenizer, read_tokenizer, write_tokenizer
from idc_models.captioner import Captioner
from idc_models.checkpoint import MODEL, open_checkpoint, write_contents
from idc_models.description import Description, read_description
from idc_models.fitting import build_trained
from idc_models.frozen import Frozen, to_plain
from torch import Tensor

from idc_run.spec import Spec, make_spec

_TRAINING = "training/"


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint file.

    Attributes:
        spec: The completed spec.
        tokenizer: The trained tokenizer.
        weights: The model's `state_dict`, without frozen pre-trained weights.
        progress: State of training: step, epoch, batches into the epoch, scores so far. Plain values.
        training: Tensors that only training needs: the optimizer's moments. Empty in a final model.
        unchanged: No-change captions of the validation pairs; the probability of a change is 1 minus theirs.
        description: Description of the training data; None until training has ended, and in older files.
        frozen: By part, the source and hashes of frozen weights, which are loaded from elsewhere.
    """

    spec: Spec
    tokenizer: Tokenizer
    weights: dict[str, Tensor]
    progress: dict[str, Any]
    training: dict[str, Tensor]
    unchanged: tuple[str, ...] = ()
    description: Description | None = None
    frozen: dict[str, Frozen] = field(default_factory=dict)

    def build(self, device: torch.device | str = "cpu") -> Captioner:
        """Build the model and load its weights.

        Raises:
            ValueError: The keys do not match, or frozen weights are unavailable or have changed.
        """
        objectives = self.spec.train.objectives
        return build_trained(self.spec.model, self.tokenizer, objectives, self.weights, self.frozen).to(device)

    def self_contained(self) -> "Checkpoint":
        """Return a copy that includes the frozen weights, for use where they cannot be loaded.

        Raises:
            ValueError: The frozen weights are unavailable or have changed.
        """
        return replace(self, weights=self.build().state_dict(), frozen={}) if self.frozen else self


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically: a crash leaves the previous file intact.

    Raises:
        OSError: The file cannot be written; the disk may be full.
    """
    tensors = {f"{MODEL}{name}": value for name, value in checkpoint.weights.items()}
    tensors |= {f"{_TRAINING}{name}": value for name, value in checkpoint.training.items()}
    metadata = {
        "spec": json.dumps(checkpoint.spec.completed()),
        "tokenizer": write_tokenizer(checkpoint.tokenizer),
        "progress": json.dumps(checkpoint.progress),
        "unchanged": json.dumps(checkpoint.unchanged),
    }
    if checkpoint.frozen:
        metadata["frozen"] = json.dumps(to_plain(checkpoint.frozen))
    if checkpoint.description:
        tensors |= checkpoint.description.tensors()
        metadata |= checkpoint.description.metadata()
    write_contents(path, metadata, tensors)


def load_checkpoint(path: Path, *, weights: bool = True) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: The file.
        weights: Whether to read the tensors of the model and the optimizer, too.

    Raises:
        ValueError: The file is missing, damaged, or not a checkpoint of this project.
    """
    contents = open_checkpoint(path, lambda name: weights or not name.startswith((MODEL, _TRAINING)))
    spec = make_spec(contents.plain("spec", dict), str(path))
    try:
        tokenizer = read_tokenizer(contents.text("tokenizer"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Checkpoint(
        spec=spec,
        tokenizer=tokenizer,
        weights=contents.under(MODEL),
        progress=contents.plain("progress", dict),
        training=contents.under(_TRAINING),
        unchanged=tuple(contents.plain("unchanged", list, "[]")),  # older files lack it
        description=read_description(contents),
        frozen=contents.frozen(),
    )


def training_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's moments as named tensors."""
    return {
        f"optimizer/{index}/{name}": torch.as_tensor(value)
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def restore_training(optimizer: torch.optim.Optimizer, state: dict[str, Tensor]) -> None:
    """Restore the optimizer's moments.

    Raises:
        ValueError: They do not match the parameters.
    """
    shapes = [parameter.shape for group in optimizer.param_groups for parameter in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        part, _, rest = name.partition("/")
        index, _, key = rest.partition("/")
        if part != "optimizer":
            continue
        if not index.isdecimal() or int(index) >= len(shapes) or value.dim() and value.shape != shapes[int(index)]:
            raise ValueError(
                f"the checkpoint's optimizer state {name!r} of shape {list(value.shape)} matches no parameter"
            )
        moments.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if value.shape == parameter.shape:
                # Same memory format as the parameter (channels last): the fused optimizer ignores strides.
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
