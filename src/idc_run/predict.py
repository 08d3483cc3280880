"""Captions for a whole split, as the predictions that are scored and logged."""

from collections.abc import Callable

import torch
from idc_data.example import Reader
from idc_data.loader import eval_batches
from idc_data.spec import DataSpec
from idc_data.tokenizer import Tokenizer
from idc_eval.prediction import Prediction
from idc_models.captioner import Captioner

from idc_run.spec import EvalSpec


def predict(
    model: Captioner,
    reader: Reader,
    tokenizer: Tokenizer,
    data: DataSpec,
    spec: EvalSpec,
    device: torch.device,
    advance: Callable[[int], None] = lambda num: None,
) -> list[Prediction]:
    """Caption every pair of a split, in order, in eval mode; the model's mode is put back afterwards.

    Args:
        model: On `device`.
        reader: The split.
        tokenizer: The model's.
        data: Image size and workers.
        spec: How to decode; the same in validation and test.
        device: Where the model is.
        advance: Told how many pairs were captioned, after each batch.
    """
    was_training = model.training
    model.eval()
    predictions = []
    for batch in eval_batches(reader, tokenizer, data.model_copy(update={"batch_size": spec.batch_size})):
        captions = model.generate(
            batch.before.to(device), batch.after.to(device), beam=spec.beam, length_penalty=spec.length_penalty
        )
        for row, tokens in enumerate(captions.tokens.tolist()):
            predictions.append(
                Prediction(
                    id=batch.ids[row],
                    hypothesis=tokenizer.decode(tokens),
                    references=list(batch.references[row]),
                    changed=batch.changed[row],
                    change_type=batch.change_types[row],
                    truth=batch.truths[row],
                    log_prob=float(captions.log_probs[row]),
                )
            )
        advance(len(batch.ids))
    model.train(was_training)
    return predictions
