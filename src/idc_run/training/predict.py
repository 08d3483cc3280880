"""Caption a whole split, for scoring and logging."""

from collections.abc import Callable
from typing import Any

import torch
from idc_data.batch import Batch
from idc_data.example import Box, Reader
from idc_data.loader import eval_batches
from idc_data.spec import DataSpec
from idc_data.tokenizers import Tokenizer
from idc_eval.prediction import Prediction, Regions
from idc_models.captioner import Captioner
from idc_models.contract import Fused, Grid
from idc_models.familiar import Familiarity

from idc_run.spec import EvalSpec


def predict(
    model: Captioner,
    reader: Reader,
    tokenizer: Tokenizer,
    data: DataSpec,
    spec: EvalSpec,
    device: torch.device,
    advance: Callable[[int], None] = lambda num: None,
    *,
    diagnose: bool = False,
    familiar: Familiarity | None = None,
    each: Callable[[Batch, Fused], None] | None = None,
) -> list[Prediction]:
    """Caption every pair of a split, in order, in eval mode; the model's mode is restored afterwards.

    Args:
        model: The model, on `device`.
        reader: The split.
        tokenizer: The tokenizer of the model.
        data: Image size and number of workers.
        spec: Decoding settings, the same for validation and test.
        device: The device of the model.
        advance: Called after each batch with its number of pairs.
        diagnose: Whether to add the change map and the caption of the swapped pair.
        familiar: Statistics of the training images, for the familiarity of each pair.
        each: Called with every batch, on `device`, and its fused pairs, with the model in eval mode. If given, the
            batches have reference captions.
    """
    was_training = model.training
    model.eval()
    predictions = []
    familiar = familiar and familiar.to(device)
    data = data.model_copy(update={"batch_size": spec.batch_size})
    for batch in eval_batches(reader, tokenizer, data, captions=each is not None):
        batch = batch.to(device)
        decode = {"beam": spec.beam, "length_penalty": spec.length_penalty, "no_repeat": spec.no_repeat_ngram}
        with torch.no_grad():
            grids = model.encode(batch.before, batch.after)
            fused = model.fusion(*grids)
            if each:
                each(batch, fused)
            captions = model.write(fused, **decode, locate=diagnose)
            swapped = _swapped(model, batch, grids, decode) if diagnose else None
            known = familiar(*grids).amin(1).double().cpu().numpy().round(4).tolist() if familiar else None
        maps = None if captions.change_map is None else captions.change_map.cpu().double().numpy().round(3).tolist()
        for row, tokens in enumerate(captions.tokens.tolist()):
            predictions.append(
                Prediction(
                    id=batch.ids[row],
                    hypothesis=tokenizer.decode(tokens),
                    references=list(batch.references[row]),
                    changed=batch.changed[row],
                    change_type=batch.change_types[row],
                    truth=batch.facts[row].truth,
                    log_prob=float(captions.log_probs[row]),
                    familiar=None if known is None else known[row],
                    change_map=maps and maps[row],
                    regions=_regions(batch, row, data.image_size),
                    swapped=tokenizer.decode(swapped[row]) if swapped else None,
                    difficulty=_difficulty(batch, row, data.image_size),
                )
            )
        advance(len(batch.ids))
    model.train(was_training)
    return predictions


def _swapped(model: Captioner, batch: Batch, grids: tuple[Grid, Grid], decode: dict[str, Any]) -> list[list[int]]:
    """Caption the swapped pairs; only a joint encoder has to encode them again."""
    swapped = grids[::-1] if model.encoder.siamese else model.encode(batch.after, batch.before)
    return model.write(model.fusion(*swapped), **decode).tokens.tolist()


def _regions(batch: Batch, row: int, size: int) -> Regions | None:
    """Return the boxes as fractions of the image's width and height."""
    regions = batch.facts[row].regions
    if regions is None:
        return None

    def part(box: Box) -> list[float]:
        left, right = (min(max(x / size, 0.0), 1.0) for x in (box[0], box[0] + box[2]))
        top, bottom = (min(max(y / size, 0.0), 1.0) for y in (box[1], box[1] + box[3]))
        return [round(value, 4) for value in (left, top, right - left, bottom - top)]

    return Regions(before=[part(box) for box in regions.before], after=[part(box) for box in regions.after])


def _difficulty(batch: Batch, row: int, size: int) -> dict[str, float]:
    """Return measures of difficulty: distance of the viewpoints, number of objects, size of the change."""
    facts, regions = batch.facts[row], _regions(batch, row, size)
    provenance, truth = facts.provenance or {}, facts.truth
    given = {name: provenance.get(name) for name in ("viewpoint_overlap", "camera_turn")}
    found = {name: float(value) for name, value in given.items() if isinstance(value, int | float)}
    if truth and "before" in truth:
        found["objects"] = float(len(truth["before"]))
    if regions and (boxes := [*regions.before, *regions.after]):
        found["change_size"] = round(sum(width * height for _, _, width, height in boxes) / len(boxes), 5)
    return found
