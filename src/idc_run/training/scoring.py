"""Caption and score a split: for validation after every epoch, and once for the test."""

from statistics import fmean

import torch
from idc_data.batch import Batch
from idc_data.example import Reader
from idc_data.tokenizers import Tokenizer
from idc_eval.meteor import Meteor
from idc_eval.metrics import DIAGNOSTICS
from idc_eval.prediction import Prediction
from idc_eval.score import score
from idc_models.captioner import Captioner
from idc_models.contract import Fused
from idc_models.description import Description

from idc_run.console import Console
from idc_run.spec import Spec
from idc_run.tracking import artifacts
from idc_run.tracking.artifacts import Tested
from idc_run.training.data import Data, no_change
from idc_run.training.predict import predict


def validate(spec: Spec, data: Data, model: Captioner, device: torch.device) -> dict[str, float]:
    """Return the validation scores, decoded as in the test, and the loss over the first reference of each pair.

    METEOR is computed only in the test, unless it is `eval.select`.

    Raises:
        ValueError: `eval.select` has no value.
    """
    metrics = {metric for metric in spec.eval.metrics if metric != "meteor"} | {spec.eval.select}
    losses: list[float] = []

    def teach(batch: Batch, fused: Fused) -> None:
        losses.extend([model.loss(batch, fused)["loss"].item()] * len(batch.ids))

    # An objective may draw random numbers; fork_rng keeps those of training unchanged.
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        predictions = predict(model, data.val, data.tokenizer, spec.data, spec.eval, device, each=teach)
    scores = score(predictions, sorted(metrics), protocol=spec.eval.protocol, no_change=no_change(spec))
    if spec.eval.select not in scores.values:
        raise ValueError(f"eval.select is {spec.eval.select!r}, but there {scores.skipped[spec.eval.select]}")
    return {"val/loss": fmean(losses)} | {f"val/{name}": value for name, value in scores.values.items()}


def caption_split(
    spec: Spec,
    model: Captioner,
    reader: Reader,
    tokenizer: Tokenizer,
    device: torch.device,
    console: Console,
    split: str,
    description: Description | None,
) -> list[Prediction]:
    """Caption a split for a test, with the diagnostics, and show progress."""
    familiar = description and description.familiar
    with console.captioning(split, len(reader)) as advance:
        return predict(
            model, reader, tokenizer, spec.data, spec.eval, device, advance, diagnose=True, familiar=familiar
        )


def examine(spec: Spec, predictions: list[Prediction]) -> Tested:
    """Score a test with all metrics that its predictions allow."""
    metrics, rules = [*spec.eval.metrics, *DIAGNOSTICS], {"protocol": spec.eval.protocol, "no_change": no_change(spec)}
    with Meteor() as meteor:  # it starts once, and only if needed
        scores = score(predictions, metrics, meteor=meteor, **rules)
        return Tested(predictions, scores, artifacts.ceiling_of(spec, predictions, meteor))
