"""What is opened, looked at and built before a run begins; nothing is written."""

import os
import random
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from idc_data.tokenizers import Tokenizer
from idc_models.captioner import PARTS, Captioner
from idc_models.contract import Objective
from idc_models.spec import build_captioner

from idc_run.checkpoint import Checkpoint
from idc_run.spec import Spec
from idc_run.training.ahead import look_ahead, steps_per_epoch
from idc_run.training.data import Data, no_change_sentences, open_data, training_references, validation_sample
from idc_run.training.feature_cache import check_features
from idc_run.training.start import Start, open_start


@dataclass(frozen=True)
class Ready:
    """All that training takes.

    Attributes:
        data: The three splits and the tokenizer.
        model: On its device, with the weights that it begins with; those of a run that goes on come later.
        epoch_steps: Optimizer steps in an epoch.
        unchanged: Captions of validation pairs that did not change.
        warnings: What will not go as one may think, each a sentence that says what to type.
    """

    data: Data
    model: Captioner
    epoch_steps: int
    unchanged: tuple[str, ...]
    warnings: list[str]


def get_ready(spec: Spec, device: torch.device, last: Checkpoint | None = None) -> Ready:
    """Open the data, look ahead and build the model.

    Args:
        spec: The experiment.
        device: Where to train.
        last: A checkpoint to go on from, which has the words and, for later, the weights.

    Raises:
        ValueError: Data or pre-trained weights cannot be had, or the scores would tell nothing.
    """
    start = open_start(spec.train.start, spec.data.max_length) if spec.train.start and not last else None
    data = open_data(spec, last.tokenizer if last else start and start.tokenizer)
    epoch_steps, validation = steps_per_epoch(spec, data), validation_sample(data)
    warnings = look_ahead(spec, data, validation, epoch_steps)
    model = build(spec, data.tokenizer, device, start, pretrained=last is None)
    if spec.register_ and not model.encoder.takes_images:
        raise ValueError(
            f"register is {spec.register_.model!r}, but a model whose encoder {type(model.encoder).__name__} takes "
            "features that were computed before captions no images; leave register out"
        )
    for objective in model.objectives.values():
        cast(Objective, objective).meet(lambda: training_references(data.train))
    if spec.data.features:
        check_features(spec, data.train, model)
        if last:
            model.load_weights(last.weights, last.frozen)  # the features hang on them
    unchanged = last.unchanged if last else no_change_sentences(validation, data.tokenizer)
    return Ready(data, model, epoch_steps, unchanged, warnings)


def prepare(spec: Spec) -> torch.device:
    """Seed everything, choose the device and the number of threads.

    Raises:
        ValueError: The device is not there.
    """
    random.seed(spec.seed)
    np.random.seed(spec.seed % 2**32)
    torch.manual_seed(spec.seed)
    if spec.train.threads:
        torch.set_num_threads(spec.train.threads)
    if spec.train.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("train.device is 'cuda', but torch sees no GPU here; use auto or cpu")
    cuda = torch.cuda.is_available() and spec.train.device != "cpu"
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")


def build(
    spec: Spec, tokenizer: Tokenizer, device: torch.device, start: Start | None = None, *, pretrained: bool = True
) -> Captioner:
    """Build the model that a spec describes, drawn with its seed.

    Args:
        spec: The experiment.
        tokenizer: The model's.
        device: Where to put it.
        start: A trained model that gives some of its parts.
        pretrained: Whether other parts load their pre-trained weights.
    """
    torch.manual_seed(spec.seed)
    model = build_captioner(spec.model, tokenizer, spec.train.objectives, pretrained=False)
    if pretrained:
        model.load_pretrained([part for part in PARTS if not (start and part in start.parts)])
    if start:
        start.give(model)
    for tensor in model.to(device).state_dict(keep_vars=True).values():
        if tensor.dim() == 4:  # Module.to(memory_format=...) wants it of parameters with five axes, too
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return model
