"""Human ratings in MLflow: as metrics of the runs that wrote the captions, and as feedback per judgement."""

import re
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from idc_eval.rating.export import Assessment, assessments, summary
from idc_eval.rating.store import Ratings

from idc_run.tracking.mlflow_tracker import MlflowTracker
from idc_run.tracking.store import connect
from idc_run.tracking.tracker import recording

EXPERIMENT = "human rating"


def record(path: Path) -> str:
    """Log a study as a run with its results and the ratings file, and a trace with feedback for each caption.

    The results of a system are also logged to the run that wrote its predictions, if MLflow has it. Logging a study
    again creates a new run; the traces of the old one remain.

    Args:
        path: The ratings file.

    Returns:
        One line for the console.

    Raises:
        ValueError: The study has no ratings yet.
    """
    with Ratings(path) as study:
        settings, files = study.settings, study.files
        captions = {name: {p.id: p for p in study.predictions(name)} for name in settings.systems}
    numbers, judged = summary(path), assessments(path)
    mlflow = connect()
    tracker = MlflowTracker(EXPERIMENT)
    params = {"mode": settings.mode, "num": settings.num, "seed": settings.seed, "systems": ", ".join(captions)}
    with recording(tracker, path.stem, params, {"idc.kind": "rating"}, {}) as run:
        tracker.metrics(numbers, 0)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / path.name
            # SQLite's backup includes answers that are still in its journal.
            with closing(sqlite3.connect(path)) as given, closing(sqlite3.connect(copy)) as kept:
                given.backup(kept)
            tracker.artifact(copy)
        mlflow.log_table(_columns(judged), "assessments.json")
        traces = _traces(mlflow, judged, captions)
    told = [name for name, file in files.items() if _beside_its_scores(mlflow, path, name, file)]
    own = f", and the runs of {', '.join(told)}" if told else ""
    return f"logged to MLflow: run {run} of the experiment {EXPERIMENT!r} with {traces:,} traces{own}"


def _columns(judged: list[Assessment]) -> dict[str, list[Any]]:
    rows = [asdict(each) for each in judged]
    return {name: [row[name] for row in rows] for name in rows[0]}


def _traces(mlflow: Any, judged: list[Assessment], captions: dict[str, dict[str, Any]]) -> int:
    """Log a trace for each caption, with the ratings as feedback; return their number."""
    from mlflow.entities import AssessmentSource

    traces: dict[tuple[str, str], str] = {}
    for system, pair in dict.fromkeys((each.system, each.item) for each in judged):
        said = captions[system][pair]
        with mlflow.start_span(name=f"{system}: {pair}") as span:
            span.set_inputs({"pair": pair, "references": said.references})
            span.set_outputs({"caption": said.hypothesis})
        traces[system, pair] = span.trace_id
    mlflow.flush_trace_async_logging()  # feedback needs an existing trace
    for each in judged:
        source = AssessmentSource(source_type="HUMAN", source_id=each.rater)
        trace = traces[each.system, each.item]
        mlflow.log_feedback(trace_id=trace, name=each.question, value=each.value, source=source)
    return len(traces)


def _beside_its_scores(mlflow: Any, path: Path, system: str, file: str) -> bool:
    """Log the results to the run that wrote the predictions; return whether it exists."""
    for run in re.findall(r"[0-9a-f]{32}", file):
        try:
            mlflow.get_run(run)
        except mlflow.exceptions.MlflowException:
            continue
        for name, value in summary(path, system).items():
            mlflow.MlflowClient().log_metric(run, name, value)
        return True
    return False
