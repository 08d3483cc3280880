"""Training that begins with the weights of a model that was trained before: some of its parts, or all."""

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
    """What a run begins with.

    Attributes:
        path: The checkpoint.
        parts: What is taken of it.
        model: Its section of the spec, as plain values.
        tokenizer: Its words, if the decoder is taken, which speaks no others.
        weights: Of the model, by name.
        frozen: Those that the checkpoint only names, by part.
    """

    path: Path
    parts: tuple[PartName, ...]
    model: dict[str, Any]
    tokenizer: Tokenizer | None
    weights: dict[str, Tensor]
    frozen: dict[str, Frozen]

    def give(self, model: Captioner) -> None:
        """Put the weights into a model that has the same parts.

        Raises:
            ValueError: A part has other settings, so that the weights do not fit; or frozen weights cannot be had.
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
                theirs = f"; there it is {self.model[part]}" if part in self.model else ""
                others = [other for other in self.parts if other != part]
                raise ValueError(
                    f"train.start: the {part} of {str(self.path)!r} is another than this spec's ({'; '.join(faults)})"
                    f"{theirs}. Give it the same settings, or leave it out: train.start.parts={others}"
                )
            module.load_state_dict(weights)


def open_start(spec: StartSpec, max_length: int) -> Start:
    """Read what a run begins with.

    Args:
        spec: Which checkpoint, and which parts of it.
        max_length: Most tokens of a caption of this run.

    Raises:
        ValueError: There is no such checkpoint or model, or it is damaged.
    """
    path = find_checkpoint(spec.checkpoint)
    wanted = tuple(f"{MODEL}{part}." for part in spec.parts)
    contents = open_checkpoint(path, lambda name: name.startswith(wanted))
    model = contents.plain("spec", dict).get("model")
    if not isinstance(model, dict):
        raise ValueError(f"{path} is damaged: its spec has no model; expected a file that idc-run wrote")
    words = read_tokenizer(contents.text("tokenizer")) if "decoder" in spec.parts else None
    tokenizer = words.limited(max_length) if words else None
    return Start(path, spec.parts, model, tokenizer, contents.under(MODEL), contents.frozen())
