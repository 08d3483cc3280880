"""What can be known of a run before it trains: whether its scores tell captions apart, and settings that do not fit.

A perfect model would say a reference of every pair. So the first reference of each validation pair is scored against
all of them: a metric without a value there has none in training either, and one that is 0 there is 0 for any caption.
"""

from collections import Counter
from collections.abc import Sequence

from idc_data.example import ChangeExample
from idc_data.loader import batches_per_epoch
from idc_data.tokenizers import tokenizer_name
from idc_eval.metrics import METRICS, metric_names
from idc_eval.prediction import Prediction
from idc_eval.score import Scores, score

from idc_run.spec import EvalSpec, Spec
from idc_run.training.data import Data, no_change
from idc_run.training.processes import world

_SLOW = {"meteor", "spice", "bertscore"}
"""Metrics that start a program or load a model: tried on two pairs, unless they choose the checkpoint."""
_OF_THE_MODEL = {
    *("pointing_game", "coverage", "swap_consistency", "swapped_accuracy"),
    *("calibration_error", "confidence_auroc", "confidence_correlation"),
}
"""Metrics that judge more of a model than its captions, which references do not have."""
_SELECTS = ("cider", "rouge-l", "bleu-4", "bleu-1")
"""What may choose the checkpoint where the chosen metric cannot, the best first."""

_LOOKED_AT, _HARDLY = 1_000, 0.01
"""How many captions are counted, evenly among all; up to which share of them may be too long without a word."""

_NOTHING = 1e-3
"""Below it a score is 0: BLEU of captions that are too short for it comes out a little above."""


def steps_per_epoch(spec: Spec, data: Data) -> int:
    """How many optimizer steps an epoch has.

    Raises:
        ValueError: The training split has fewer pairs than one batch.
    """
    pairs, batch = len(data.train), spec.data.batch_size
    if pairs < batch * world():
        each = f" for each of {world()} processes" if world() > 1 else ""
        raise ValueError(
            f"the training split has {pairs} pairs, fewer than one batch of {batch}{each}: make batch_size smaller, "
            f"-s data.batch_size={max(pairs // (4 * world()), 1)}"
        )
    return batches_per_epoch(data.train, spec.data, world=world())


def look_ahead(spec: Spec, data: Data, validation: Sequence[ChangeExample], epoch_steps: int) -> list[str]:
    """Say what will not work, before anything is trained.

    Args:
        spec: The experiment.
        data: What it reads.
        validation: Validation pairs, all or a sample.
        epoch_steps: Optimizer steps in an epoch.

    Returns:
        Warnings, each a sentence that says what to type.

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
    """Score perfect captions by what the spec asks for and by what could choose a checkpoint instead."""
    wanted = set(metric_names([*spec.metrics, spec.select])) - _OF_THE_MODEL
    scores = score(perfect, sorted({*(wanted - _SLOW), *_SELECTS}), protocol=spec.protocol, no_change=no_change)
    for name in wanted & _SLOW:
        if name == spec.select:
            part = score(perfect, [name], protocol=spec.protocol)
        elif name == "meteor":  # it comes with all that it needs
            continue
        else:
            part = score(perfect[:2], [name])
        scores.values.update(part.values)
        scores.skipped.update(part.skipped)
    return scores


def _useless(select: str, scores: Scores, perfect: Sequence[Prediction]) -> str:
    """The selecting metric cannot be used: why, and which one can."""
    others = [name for name in _SELECTS if scores.values.get(name, 0.0) >= _NOTHING]
    remedy = f"choose by another metric: -s eval.select={others[0]}" if others else "look at the captions of the split"
    if select in _OF_THE_MODEL:
        return f"eval.select is {select!r}, which only the test computes; {remedy}"
    if select in scores.skipped:
        return f"eval.select is {select!r}, but in the val split {scores.skipped[select]}; {remedy}"
    captions = {reference for each in perfect for reference in each.references}
    why = f": all captions are {next(iter(captions))!r}" if len(captions) == 1 else ""
    return (
        f"eval.select is {select!r}, which is 0 in the val split even for its own references{why}, so it cannot tell a "
        f"good caption from a bad one; {remedy}"
    )


def _schedule(spec: Spec, epoch_steps: int) -> list[str]:
    steps, warmup = epoch_steps * spec.train.epochs, spec.train.schedule.warmup_steps
    if warmup < steps:
        return []
    return [
        f"the learning rate rises for {warmup} steps, and the run has {steps} ({epoch_steps} an epoch), so it never "
        f"gets to {spec.train.optimizer.lr:g}: -s train.schedule.warmup_steps={max(steps // 10, 1)}, or more epochs"
    ]


def _few(data: Data) -> list[str]:
    if len(data.val) > 1:
        return []
    return ["the val split has one pair, which says little about which checkpoint is best: move some of train to val"]


def _unknown(spec: Spec, data: Data) -> list[str]:
    """Words that the run cannot learn, because it begins with a decoder that has words of its own."""
    start = spec.train.start
    if start is None or "decoder" not in start.parts:
        return []
    asked, others = spec.completed()["data"]["tokenizer"]["name"], [part for part in start.parts if part != "decoder"]
    notes, speaks = [], tokenizer_name(data.tokenizer)
    if speaks != asked:
        notes.append(
            f"the model of train.start speaks by the tokenizer {speaks!r}, so data.tokenizer ({asked}) is not used; "
            f"with a new decoder it would be: -s 'train.start.parts=[{', '.join(others)}]'"
        )
    counts = Counter(word for caption in data.captions for word in data.tokenizer.unknown(caption))
    if not counts:
        return notes
    words = ", ".join(repr(word) for word, _ in counts.most_common(5))
    return [
        *notes,
        f"the model of train.start lacks {len(counts)} words of the training captions, such as {words}, and cannot "
        f"learn them; a new decoder would: -s 'train.start.parts=[{', '.join(others)}]'",
    ]


def _cut(data: Data) -> list[str]:
    """Captions that are longer than the model may say."""
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
    """What eval.metrics asks for and the validation split does not give."""
    asked = metric_names(spec.metrics)
    notes = [f"{name} cannot be computed: {scores.skipped[name]}" for name in asked if name in scores.skipped]
    zero = [name for name in asked if scores.values.get(name, 1.0) < _NOTHING and not METRICS[name].lower_is_better]
    if zero:
        notes.append(f"{', '.join(zero)}: 0 in the val split even for its own references, so it will tell nothing")
    return notes
