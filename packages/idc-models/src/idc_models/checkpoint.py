"""Checkpoints as idc-run writes them, read with nothing but this package: to caption, not to train on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from idc_models.captioner import Captioner
from idc_models.spec import ModelSpec, build_captioner
from idc_models.vocabulary import Vocabulary

FORMAT = "idc-checkpoint/1"


@dataclass(frozen=True)
class Trained:
    """A model with its weights, in eval mode; the words that it speaks, and what else the file tells.

    Attributes:
        model: on the CPU; of its objectives, which only training needs, there is nothing.
        vocabulary: its words.
        spec: the completed spec of the run, as plain values.
        unchanged: no-change sentences of the validation data; files of before have none.
    """

    model: Captioner
    vocabulary: Vocabulary
    spec: dict[str, Any]
    unchanged: list[str]


def read_checkpoint(path: Path) -> Trained:
    """Reads a checkpoint that idc-run wrote.

    Raises:
        ValueError: it is none, it is damaged, or a plugin that it was trained with is not installed.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint at {str(path)!r}; expected a .safetensors file that idc-run wrote")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            # What only training needs stays behind: the optimizer's moments, and objectives with their parameters.
            names = [name.removeprefix("model/") for name in file.keys() if name.startswith("model/")]  # noqa: SIM118
            weights = {name: file.get_tensor(f"model/{name}") for name in names if not name.startswith("objectives.")}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is no readable safetensors file ({error}); is the download complete?") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} has format {metadata.get('format')!r}, expected {FORMAT!r}, as idc-run writes it")
    vocabulary, spec = Vocabulary.from_json(metadata["tokenizer"]), json.loads(metadata["spec"])
    model = build_captioner(ModelSpec.model_validate(spec["model"]), vocabulary, {"caption": 1.0}, pretrained=False)
    model.load_state_dict(weights)
    return Trained(model.eval(), vocabulary, spec, json.loads(metadata.get("unchanged", "[]")))
