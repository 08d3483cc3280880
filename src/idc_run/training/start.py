"""Training that starts from the weights of a trained model, or of some of its parts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idc_data.tokenizers import Tokenizer, read_tokenizer
from idc_models.captioner import Captioner
from idc_models.checkpoint import MODEL, open_checkpoint
from idc_models.fitting import misfits
from idc_models.frozen import Frozen, load_frozen
from idc_models.loading import find_checkpoint
from idc_models.spec import PartName
from torch import Tensor

from idc_run.spec import StartSpec


@dataclass(frozen=True)
class Start:
    """The weights that a run starts from.

    Attributes:
        path: The checkpoint.
        parts: The parts to load.
        model: The `model` section of its spec, as plain values.
        tokenizer: Its tokenizer if the decoder is loaded, which depends on it.
        weights: The weights by name.
        frozen: By part, the source of frozen weights that the checkpoint does not hold.
    """

    path: Path
    parts: tuple[PartName, ...]
    model: dict[str, Any]
    tokenizer: Tokenizer | None
    weights: dict[str, Tensor]
    frozen: dict[str, Frozen]

    def give(self, model: Captioner) -> None:
        """Load the weights into a model with the same parts.

        Raises:
            ValueError: A part has other settings, so that the weights do not fit, or frozen weights are unavailable.
        """
        for part in self.parts:
            module = getattr(model, part)
            shapes = {name: value.shape for name, value in module.state_dict().items()}
            weights = {
                name.removeprefix(f"{part}."): value
                for name, value in self.weights.items()
                if name.startswith(f"{part}.")
            }
            if part in self.frozen:
                weights |= load_frozen(module, part, self.frozen[part])
                model.frozen[part] = self.frozen[part]
            if faults := misfits(shapes, weights):
                theirs = f"; the checkpoint has {self.model[part]}" if part in self.model else ""
                others = [other for other in self.parts if other != part]
                raise ValueError(
                    f"train.start: the {part} of {str(self.path)!r} does not fit this spec ({'; '.join(faults)})"
                    f"{theirs}. Use the same settings, or omit the part: train.start.parts={others}"
                )
            module.load_state_dict(weights)


def open_start(spec: StartSpec, max_length: int) -> Start:
    """Read the weights that a run starts from.

    Args:
        spec: The checkpoint and the parts to load.
        max_length: Maximum number of tokens of a caption in this run.

    Raises:
        ValueError: There is no such checkpoint or model, or it is damaged.
    """
    path = find_checkpoint(spec.checkpoint)
    wanted = tuple(f"{MODEL}{part}." for part in spec.parts)
    contents = open_checkpoint(path, lambda name: name.startswith(wanted))
    model = contents.plain("spec", dict).get("model")
    if not isinstance(model, dict):
        raise ValueError(f"{path} is damaged: its spec has no `model` section; expected a file written by idc-run")
    words = read_tokenizer(contents.text("tokenizer")) if "decoder" in spec.parts else None
    tokenizer = words.limited(max_length) if words else None
    return Start(path, spec.parts, model, tokenizer, contents.under(MODEL), contents.frozen())
