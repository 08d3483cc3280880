"""Preparation of a run: open the data, check the settings, build the model. Writes nothing."""

import os
import random
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from idc_data.features import load_features
from idc_data.spec import FeatureFolder
from idc_data.tokenizers import Tokenizer
from idc_models.captioner import PARTS, Captioner
from idc_models.contract import Objective
from idc_models.spec import build_captioner

from idc_run.checkpoint import Checkpoint
from idc_run.spec import Spec
from idc_run.training.ahead import frozen_at_random, look_ahead, steps_per_epoch
from idc_run.training.data import Data, no_change_sentences, open_data, training_references, validation_sample
from idc_run.training.feature_cache import check_features
from idc_run.training.start import Start, open_start


@dataclass(frozen=True)
class Ready:
    """Everything that training needs.

    Attributes:
        data: The three splits and the tokenizer.
        model: The model on its device with its initial weights; `fit` loads the weights of a resumed run.
        epoch_steps: Optimizer steps per epoch.
        unchanged: No-change captions of the validation pairs.
        warnings: Warnings, each with the setting that fixes it.
    """

    data: Data
    model: Captioner
    epoch_steps: int
    unchanged: tuple[str, ...]
    warnings: list[str]


def get_ready(spec: Spec, device: torch.device, last: Checkpoint | None = None) -> Ready:
    """Open the data, check the settings and build the model.

    Args:
        spec: The experiment.
        device: The device to train on.
        last: A checkpoint to resume from, which provides the tokenizer.

    Raises:
        ValueError: Data or pre-trained weights are unavailable, or `eval.select` is useless on this data.
    """
    start = open_start(spec.train.start, spec.data.max_length) if spec.train.start and not last else None
    data = open_data(spec, last.tokenizer if last else start and start.tokenizer)
    epoch_steps, validation = steps_per_epoch(spec, data), validation_sample(data)
    warnings = look_ahead(spec, data, validation, epoch_steps)
    model = build(spec, data.tokenizer, device, start, pretrained=last is None)
    if not (start and "encoder" in start.parts):
        warnings += frozen_at_random(model.encoder)
    if spec.register_ and not model.encoder.takes_images:
        raise ValueError(
            f"register is {spec.register_.model!r}, but the encoder {type(model.encoder).__name__} takes precomputed "
            "features, so the model cannot caption images; omit register"
        )
    for objective in model.objectives.values():
        cast(Objective, objective).meet(lambda: training_references(data.train))
    if isinstance(spec.data.features, FeatureFolder):
        model.encoder.check(load_features(data.train[0])[0][None])
    if spec.data.features == "cache":
        check_features(spec, data.train, model)
        if last:
            model.load_weights(last.weights, last.frozen)  # the features depend on them
    unchanged = last.unchanged if last else no_change_sentences(validation, data.tokenizer)
    return Ready(data, model, epoch_steps, unchanged, warnings)


def prepare(spec: Spec) -> torch.device:
    """Seed the random generators; set the number of threads; return the device.

    Raises:
        ValueError: The device is not available.
    """
    random.seed(spec.seed)
    np.random.seed(spec.seed % 2**32)
    torch.manual_seed(spec.seed)
    if spec.train.threads:
        torch.set_num_threads(spec.train.threads)
    if spec.train.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("train.device is 'cuda', but PyTorch finds no GPU; use auto or cpu")
    cuda = torch.cuda.is_available() and spec.train.device != "cpu"
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")


def build(
    spec: Spec, tokenizer: Tokenizer, device: torch.device, start: Start | None = None, *, pretrained: bool = True
) -> Captioner:
    """Build the model of a spec, initialised with its seed.

    Args:
        spec: The experiment.
        tokenizer: The tokenizer of the model.
        device: The device for the model.
        start: A trained model that provides some of the parts.
        pretrained: Whether the other parts load their pre-trained weights.
    """
    torch.manual_seed(spec.seed)
    model = build_captioner(spec.model, tokenizer, spec.train.objectives, pretrained=False)
    if pretrained:
        model.load_pretrained([part for part in PARTS if not (start and part in start.parts)])
    if start:
        start.give(model)
    for tensor in model.to(device).state_dict(keep_vars=True).values():
        if tensor.dim() == 4:  # Module.to(memory_format=...) would fail for five axes
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return model
