"""A report: one self-contained web page with the scores, plots, and a gallery of pairs with their captions."""

import dataclasses
import json
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from idc_eval.meteor import Meteor
from idc_eval.metrics import FAST_METRICS, METRICS
from idc_eval.notes import UNFAMILIAR, unfamiliar
from idc_eval.prediction import Prediction, explain, read_predictions
from idc_eval.protocols import find_protocol
from idc_eval.report_data import bar_charts, curve_panels, main_metric, metric_rows, outcomes, wording
from idc_eval.report_gallery import Images, choose, shown_pair
from idc_eval.score import Scores, reference_ceiling, score
from idc_eval.targets import predictions_file
from idc_eval.whole import read_text, write_whole

_PAGE = Path(__file__).parent / "report.html"
_Curves = TypeAdapter(dict[str, list[tuple[int, float]]])


def report_folder(
    target: Path,
    *,
    out: Path | None = None,
    metrics: Sequence[str] = (),
    protocol: str = "",
    no_change: Sequence[str] = (),
    annotations: Path | None = None,
    gallery: int = 200,
    title: str = "",
    tell: Callable[[str], None] = warnings.warn,
) -> tuple[Path, list[str]]:
    """Score the predictions of a run and write a report.

    Args:
        target: A predictions file, or a folder with `predictions.jsonl` and optionally `scores.json`, `spec.json` and
            `curves.json`.
        out: The page; by default `report.html` beside the predictions.
        metrics: As for `score`; by default those of `scores.json`, or all but METEOR.
        protocol: As for `score`; by default that of `scores.json`, or `plain`.
        no_change: As for `score`; by default those of `scores.json`.
        annotations: As for `read_predictions`.
        gallery: Maximum number of pairs in the gallery.
        title: Title; by default the name in `spec.json` or of the folder.
        tell: As for `read_predictions`.

    Returns:
        The page, and messages about what could not be shown.

    Raises:
        ValueError: A file is damaged, or a metric or protocol is unknown.
        OSError: A file is missing or cannot be written.
    """
    file = predictions_file(target)
    if not file.is_file():
        raise FileNotFoundError(
            f"there is no {file.name} in {str(target)!r}; give the folder of a run or a predictions file"
        )
    out = out or file.with_name("report.html")
    if not out.parent.is_dir():
        raise FileNotFoundError(
            f"cannot write {out.name}: the folder {str(out.parent)!r} does not exist; create it first"
        )
    predictions = read_predictions(file, annotations=annotations, tell=tell)
    # Other files beside a bare predictions file may belong to something else.
    known = {name: _json(file.with_name(f"{name}.json")) if target.is_dir() else None for name in ("scores", "spec")}
    kept, spec = known["scores"] or {}, known["spec"]
    names = list(metrics) or [name for name in (*kept.get("values", ()), *kept.get("skipped", ())) if name in METRICS]
    rules: dict[str, Any] = {
        "protocol": protocol or kept.get("protocol", "plain"),
        "no_change": no_change or kept.get("details", {}).get("no_change", ()),
    }
    with Meteor() as meteor:
        scores = score(predictions, names or FAST_METRICS, meteor=meteor, images=file.parent, **rules)
        ceiling = _ceiling(predictions, names or FAST_METRICS, meteor, rules)
    problems = write_report(
        out,
        predictions,
        scores,
        folder=file.parent,
        title=title or (spec or {}).get("name") or (file.resolve().parent.name if target.is_dir() else file.stem),
        ceiling=ceiling,
        curves=_read_curves(file.with_name("curves.json")) if target.is_dir() else None,
        spec=spec,
        gallery=gallery,
    )
    return out, problems


def write_report(
    path: str | Path,
    predictions: Sequence[Prediction],
    scores: Scores,
    *,
    folder: str | Path,
    title: str,
    ceiling: Scores | None = None,
    curves: Mapping[str, Sequence[tuple[int, float]]] | None = None,
    spec: Mapping[str, Any] | None = None,
    gallery: int = 200,
) -> list[str]:
    """Write a report: a page in one self-contained file. The same input gives the same page.

    Args:
        path: File of the page; written whole or not at all.
        predictions: The scored predictions.
        scores: Their scores.
        folder: Folder that the names of images are relative to.
        title: Title of the page.
        ceiling: The score of the references against each other.
        curves: Steps and values by metric name, such as `train/loss`.
        spec: Spec of the run, shown folded.
        gallery: Maximum number of pairs in the gallery.

    Returns:
        Messages about what could not be shown, such as a missing image; they are on the page too.

    Raises:
        ValueError: The scores do not belong to the predictions.
        OSError: The page cannot be written.
    """
    predictions, scores = _scored(predictions, scores)
    rows, note = choose(predictions, scores, gallery)
    images = Images(Path(folder))
    became = outcomes(predictions, scores)
    top = max((value for row in rows for line in predictions[row].change_map or [] for value in line), default=0.0)
    pairs = [shown_pair(predictions[row], row, scores, became[row], images, top) for row in rows]
    data = {
        "title": title,
        "protocol": scores.protocol,
        "about": scores.details["about"],
        "note": scores.details["note"],
        "n": scores.n,
        "versions": ", ".join([scores.tokenizer, *(f"{name} {number}" for name, number in scores.versions.items())]),
        "main": main_metric(scores),
        "metrics": metric_rows(scores, ceiling),
        "ceiling": ceiling is not None,
        "skipped": scores.skipped,
        "outcomes": Counter(became),
        "charts": bar_charts(predictions, scores),
        "curves": curve_panels(curves or {}),
        "wording": wording(predictions, scores),
        "chosen": note,
        "familiar": dict(zip(("strange", "known"), unfamiliar(predictions), strict=True)) | {"below": UNFAMILIAR},
        "map_top": top,
        "pairs": pairs,
        "images": images.urls,
        "problems": images.problems(),
        "spec": json.dumps(spec, indent=2, ensure_ascii=False, default=str) if spec else "",
    }
    # A caption must not close the script element; ASCII avoids U+2028 and lone surrogates.
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    write_whole(Path(path), _PAGE.read_text(encoding="utf-8").replace("/* DATA */ null", text))
    return data["problems"]


def _scored(predictions: Sequence[Prediction], scores: Scores) -> tuple[list[Prediction], Scores]:
    """Return the pairs that the protocol scores, and their scores."""
    rows = find_protocol(scores.protocol).chosen(predictions)
    if len(rows) != scores.n or any(len(values) != len(predictions) for values in scores.per_example.values()):
        raise ValueError(
            f"there are scores of {scores.n:,} pairs, but {len(rows):,} predictions: score these predictions"
        )
    per_example = {name: [values[row] for row in rows] for name, values in scores.per_example.items()}
    return [predictions[row] for row in rows], dataclasses.replace(scores, per_example=per_example)


def _ceiling(
    predictions: Sequence[Prediction], names: Sequence[str], meteor: Meteor, rules: Mapping[str, Any]
) -> Scores | None:
    try:
        return reference_ceiling(predictions, names, meteor=meteor, **rules)
    except ValueError:
        return None  # one reference per pair; any other error would have stopped the scoring


def _read_curves(path: Path) -> dict[str, list[tuple[int, float]]] | None:
    if not path.is_file():
        return None
    try:
        return _Curves.validate_json(read_text(path))
    except ValidationError as error:
        raise ValueError(f"{path}: expected {{name: [[step, value], ...]}}; {explain(error)}") from error


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        record = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path}: expected one JSON object")
    return record
