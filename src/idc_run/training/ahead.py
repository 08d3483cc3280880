"""Checks before training: whether the metrics distinguish captions, and whether settings suit the data.

A perfect model would output a reference of each pair. So the first reference of each validation pair is scored against
all of them. A metric without a value there has none in training either; a metric that is 0 there is 0 for all captions.
"""

from collections import Counter
from collections.abc import Sequence

from idc_data.example import ChangeExample
from idc_data.loader import batches_per_epoch
from idc_data.tokenizers import tokenizer_name
from idc_eval.metrics import METRICS, metric_names
from idc_eval.prediction import Prediction
from idc_eval.score import Scores, score
from idc_models.contract import Encoder

from idc_run.spec import EvalSpec, Spec
from idc_run.training.data import Data, no_change
from idc_run.training.processes import world

_SLOW = {"meteor", "spice", "bertscore"}
"""Metrics that start a program or load a model; tried on two pairs, unless they choose the checkpoint."""
_OF_THE_MODEL = {
    *("pointing_game", "coverage", "swap_consistency", "swapped_accuracy"),
    *("calibration_error", "confidence_auroc", "confidence_correlation"),
}
"""Metrics that need more than captions, so that they cannot be computed for references."""
_SELECTS = ("cider", "rouge-l", "bleu-4", "bleu-1")
"""Alternatives for choosing the checkpoint if the selected metric is unusable, the best first."""

_LOOKED_AT, _HARDLY = 1_000, 0.01
"""Number of captions to examine, evenly spaced; share of them that may be too long without a warning."""

_NOTHING = 1e-3
"""A score below this counts as 0: smoothed BLEU of captions that are too short is slightly above 0."""


def frozen_at_random(encoder: Encoder) -> list[str]:
    """Warn of an encoder that is neither trained nor loaded from anywhere."""
    loaded = encoder.origin() is not None or isinstance(getattr(encoder, "weights", None), str)
    if loaded or not getattr(encoder, "frozen", False):
        return []
    return [
        "the encoder is frozen, but its weights are random, because nothing loads any: set its pretrained: true or "
        "weights: (see `idc-models list`), begin with a trained model (train.start), or leave frozen out"
    ]


def steps_per_epoch(spec: Spec, data: Data) -> int:
    """Return the number of optimizer steps per epoch.

    Raises:
        ValueError: The training split has fewer pairs than one batch.
    """
    pairs, batch = len(data.train), spec.data.batch_size
    if pairs < batch * world():
        each = f" for each of {world()} processes" if world() > 1 else ""
        raise ValueError(
            f"the training split has {pairs} pairs, fewer than one batch of {batch}{each}: reduce the batch size: "
            f"-s data.batch_size={max(pairs // (4 * world()), 1)}"
        )
    return batches_per_epoch(data.train, spec.data, world=world())


def look_ahead(spec: Spec, data: Data, validation: Sequence[ChangeExample], epoch_steps: int) -> list[str]:
    """Find problems before training.

    Args:
        spec: The experiment.
        data: The data of the experiment.
        validation: All validation pairs, or a sample.
        epoch_steps: Optimizer steps per epoch.

    Returns:
        Warnings, each with the setting that fixes it.

    Raises:
        ValueError: `eval.select` cannot choose a checkpoint on this validation split.
    """
    perfect = [
        Prediction(
            id=example.id,
            hypothesis=example.references[0],
            references=list(example.references),
            changed=example.changed,
            change_type=example.change_type,
            truth=example.truth,
        )
        for example in validation
    ]
    scores = _score(perfect, spec.eval, no_change(spec))
    select = spec.eval.select
    if select in _OF_THE_MODEL or scores.values.get(select, 0.0) < _NOTHING:
        raise ValueError(_useless(select, scores, perfect))
    return [
        *_schedule(spec, epoch_steps),
        *_few(data),
        *_unknown(spec, data),
        *_cut(data),
        *_metrics(spec.eval, scores),
    ]


def _score(perfect: list[Prediction], spec: EvalSpec, no_change: tuple[str, ...]) -> Scores:
    """Score perfect captions by the metrics of the spec and the alternatives in `_SELECTS`."""
    wanted = set(metric_names([*spec.metrics, spec.select])) - _OF_THE_MODEL
    scores = score(perfect, sorted({*(wanted - _SLOW), *_SELECTS}), protocol=spec.protocol, no_change=no_change)
    for name in wanted & _SLOW:
        if name == spec.select:
            part = score(perfect, [name], protocol=spec.protocol)
        elif name == "meteor":  # its requirements are always installed
            continue
        else:
            part = score(perfect[:2], [name])
        scores.values.update(part.values)
        scores.skipped.update(part.skipped)
    return scores


def _useless(select: str, scores: Scores, perfect: Sequence[Prediction]) -> str:
    """Return why the selected metric is unusable, and an alternative."""
    others = [name for name in _SELECTS if scores.values.get(name, 0.0) >= _NOTHING]
    remedy = f"choose by another metric: -s eval.select={others[0]}" if others else "check the captions of the split"
    if select in _OF_THE_MODEL:
        return f"eval.select is {select!r}, which is computed only in the test; {remedy}"
    if select in scores.skipped:
        return f"eval.select is {select!r}, but in the val split {scores.skipped[select]}; {remedy}"
    captions = {reference for each in perfect for reference in each.references}
    why = f": all captions are {next(iter(captions))!r}" if len(captions) == 1 else ""
    return (
        f"eval.select is {select!r}, which is 0 in the val split even for its own references{why}, so it cannot tell "
        f"good captions from bad ones; {remedy}"
    )


def _schedule(spec: Spec, epoch_steps: int) -> list[str]:
    steps, warmup = epoch_steps * spec.train.epochs, spec.train.schedule.warmup_steps
    if warmup < steps:
        return []
    return [
        f"the warm-up takes {warmup} steps, but the run has {steps} ({epoch_steps} per epoch), so the learning rate "
        "never "
        f"reaches {spec.train.optimizer.lr:g}: set -s train.schedule.warmup_steps={max(steps // 10, 1)}, or more epochs"
    ]


def _few(data: Data) -> list[str]:
    if len(data.val) > 1:
        return []
    return ["the val split has one pair, which is too few to choose a checkpoint: move some pairs from train to val"]


def _unknown(spec: Spec, data: Data) -> list[str]:
    """Warn of words that cannot be learnt because the run starts from a decoder with its own vocabulary."""
    start = spec.train.start
    if start is None or "decoder" not in start.parts:
        return []
    asked, others = spec.completed()["data"]["tokenizer"]["name"], [part for part in start.parts if part != "decoder"]
    notes, speaks = [], tokenizer_name(data.tokenizer)
    if speaks != asked:
        notes.append(
            f"the decoder of train.start uses the tokenizer {speaks!r}, so data.tokenizer ({asked}) is ignored; "
            f"to use it, train a new decoder: -s 'train.start.parts=[{', '.join(others)}]'"
        )
    counts = Counter(word for caption in data.captions for word in data.tokenizer.unknown(caption))
    if not counts:
        return notes
    words = ", ".join(repr(word) for word, _ in counts.most_common(5))
    return [
        *notes,
        f"the decoder of train.start lacks {len(counts)} words of the training captions, such as {words}, and cannot "
        f"learn them; to use them, train a new decoder: -s 'train.start.parts=[{', '.join(others)}]'",
    ]


def _cut(data: Data) -> list[str]:
    """Warn of captions that exceed the maximum length."""
    most, captions = data.tokenizer.max_length, [*dict.fromkeys(data.captions)]
    some = captions[:: max(1, len(captions) // _LOOKED_AT)]
    lengths = [len(data.tokenizer.tokens(caption)) + 2 for caption in some]  # with begin and end
    if (share := sum(length > most for length in lengths) / max(1, len(lengths))) < _HARDLY:
        return []
    return [
        f"{share:.0%} of the training captions have more than {most} tokens, begin and end included, and are cut: "
        f"-s data.max_length={max(lengths)}"
    ]


def _metrics(spec: EvalSpec, scores: Scores) -> list[str]:
    """Warn of metrics in eval.metrics that the validation split does not support."""
    asked = metric_names(spec.metrics)
    notes = [f"{name} cannot be computed: {scores.skipped[name]}" for name in asked if name in scores.skipped]
    zero = [name for name in asked if scores.values.get(name, 1.0) < _NOTHING and not METRICS[name].lower_is_better]
    if zero:
        notes.append(f"{', '.join(zero)}: 0 in the val split even for its own references, so useless there")
    return notes
