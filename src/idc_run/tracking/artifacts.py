"""The artifacts of a tested run: predictions, scores, the report, pictures."""

import json
import math
import random
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from idc_data.example import Reader
from idc_eval.meteor import Meteor
from idc_eval.prediction import Prediction, write_predictions
from idc_eval.protocols import find_protocol
from idc_eval.report import write_report
from idc_eval.report_gallery import choose
from idc_eval.score import Scores, reference_ceiling

from idc_run.progress import Progress
from idc_run.spec import Spec
from idc_run.tracking.tracker import Tracker

_GALLERY = 200
"""Number of pairs in the report, and of randomly sampled pairs whose images are stored for human rating."""


@dataclass(frozen=True)
class Tested:
    """The results of a test.

    Attributes:
        predictions: One per pair of the split.
        scores: Their scores.
        ceiling: The scores of one reference against the others, if pairs have several.
    """

    predictions: list[Prediction]
    scores: Scores
    ceiling: Scores | None


def ceiling_of(spec: Spec, predictions: Sequence[Prediction], meteor: Meteor) -> Scores | None:
    """Score one human reference against the others; None if pairs have only one, or the protocol joins them."""
    joined = find_protocol(spec.eval.protocol).references == "joined"
    if joined or not any(len(prediction.references) > 1 for prediction in predictions):
        return None
    wording = [name for name in spec.eval.metrics if name.startswith(("bleu", "meteor", "rouge", "cider"))]
    return reference_ceiling(predictions, wording, protocol=spec.eval.protocol, meteor=meteor) if wording else None


def log_results(
    spec: Spec,
    reader: Reader,
    tested: Tested,
    tracker: Tracker,
    progress: Progress | None = None,
    out: Path | None = None,
) -> None:
    """Write predictions, scores, the report and pictures, and log them.

    Args:
        spec: The spec of the test.
        reader: The split, in the order of the predictions.
        tested: The results of the test.
        tracker: Stores the files.
        progress: The state of training with its curves, if the model was trained in this run.
        out: A folder that also gets the files.
    """
    with tempfile.TemporaryDirectory() as name:  # not in `out`, which may hold other files
        _write(Path(name), spec, reader, tested, progress)
        if out:
            shutil.copytree(name, out, dirs_exist_ok=True)
        for path in sorted(Path(name).iterdir()):
            tracker.artifact(path)


def _write(folder: Path, spec: Spec, reader: Reader, tested: Tested, progress: Progress | None) -> None:
    from idc_run.tracking import pictures  # matplotlib takes a second

    predictions, scores, ceiling = tested.predictions, tested.scores, tested.ceiling
    curves = progress and {
        "train/loss": [(int(step), value) for step, value in progress.losses],
        "val/loss": [(int(step), value) for step, value in progress.val_losses],
        f"val/{spec.eval.select}": [(int(step), value) for step, value in progress.scores],
    }
    # People rate this sample, so it is random and the same in every run; the report adds the best and the worst pairs.
    sample = sorted(random.Random(0).sample(range(len(predictions)), min(_GALLERY, len(predictions))))
    right = scores.per_example.get("statement_accuracy", [math.nan] * len(predictions))
    rows, _ = choose(predictions, scores, _GALLERY)
    first = range(min(pictures.SAMPLES, len(predictions)))
    with tempfile.TemporaryDirectory() as name:
        shown = pictures.keep_images(Path(name), reader, predictions, sorted({*rows, *sample, *first}))
        pictures.sample_pairs(
            folder / "samples.png", Path(name), shown, [None if each != each else each for each in right]
        )
        kept = list(predictions)
        (folder / "images").mkdir()
        for row in sample:
            kept[row] = shown[row]
            for image in filter(None, (shown[row].before, shown[row].after)):
                shutil.copyfile(Path(name, image), folder / image)
        write_predictions(folder / "predictions.jsonl", kept)
        write_report(
            folder / "report.html",
            shown,
            scores,
            folder=name,
            title=spec.name,
            ceiling=ceiling,
            curves=curves or {},
            spec=spec.completed(),
            gallery=_GALLERY,
        )
    summary = scores.summary() | ({"ceiling": ceiling.summary()} if ceiling else {})
    (folder / "scores.json").write_text(json.dumps(summary, indent=2))
    if curves:
        (folder / "curves.json").write_text(json.dumps(curves))
        pictures.learning_curves(folder / "learning_curves.png", curves)
