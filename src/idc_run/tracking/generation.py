"""The generation of a dataset as an MLflow run: its spec, the counts of each stage, and samples."""

import json
import tempfile
from pathlib import Path
from typing import Any

from idc_data.layout import GENERATION, Folder
from idc_data.rows import METADATA
from idc_data.show import contact_sheet

from idc_run.tracking.mlflow_tracker import MlflowTracker, flatten
from idc_run.tracking.note import DESCRIPTION
from idc_run.tracking.tracker import recording

EXPERIMENT = "generate"
_SAMPLES = 12


def record(dataset: Path) -> str:
    """Log the generation of a dataset once, and record the run in its `generation.json`.

    Args:
        dataset: The folder that `idc-data generate` wrote.

    Returns:
        One line for the console.

    Raises:
        OSError: There is no `generation.json`.
    """
    path = dataset / GENERATION
    made = json.loads(path.read_text(encoding="utf-8"))
    if "run" in made:
        return f"already tracked as run {made['run']['id']} of the experiment {EXPERIMENT!r}"
    tracker = MlflowTracker(EXPERIMENT)
    splits = {split: Folder(split, root=dataset) for split in made["pairs"] if (dataset / split / METADATA).is_file()}
    datasets = {split: (made["name"], pairs.fingerprint) for split, pairs in splits.items()}
    with recording(tracker, made["name"], made["spec"], {"idc.kind": "generation"}, datasets) as run:
        tracker.metrics(_metrics(made), 0)
        for file in (dataset / "README.md", path):
            tracker.artifact(file)
        with tempfile.TemporaryDirectory() as folder:
            for split, pairs in splits.items():
                picture = Path(folder) / f"{split}.png"
                contact_sheet([pairs[index] for index in range(min(_SAMPLES, len(pairs)))]).save(picture)
                tracker.artifact(picture, "samples")
    made["run"] = {"id": run, "experiment": tracker.experiment}
    path.write_text(json.dumps(made, indent=2), encoding="utf-8")
    return f"tracked as run {run} of the experiment {EXPERIMENT!r}; to see it: mlflow ui"


def source(dataset: dict[str, Any]) -> dict[str, str]:
    """Return tags that link a model's run to the run that generated its data, if there is one.

    Args:
        dataset: The dataset of a completed spec.
    """
    root = dataset.get("root")
    path = Path(root) / GENERATION if root else None
    if not path or not path.is_file():
        return {}
    made = json.loads(path.read_text(encoding="utf-8"))
    if "run" not in made:
        return {}
    run, experiment = made["run"]["id"], made["run"]["experiment"]
    link = f"Data: [{made['name']}](#/experiments/{experiment}/runs/{run}), generated."
    return {"generation": run, DESCRIPTION: link}


def _metrics(made: dict[str, Any]) -> dict[str, float]:
    metrics: dict[str, float] = {f"pairs/{split}": count for split, count in made["pairs"].items()}
    for stage in made["stages"]:
        name = stage["stage"]
        metrics |= {f"{name}/rows": stage["rows"], f"{name}/seconds": stage["seconds"]}
        notes = {key: value for key, value in stage.items() if key not in ("rows", "seconds")}
        for key, value in flatten(notes).items():
            if isinstance(value, int | float) and not isinstance(value, bool) and not key.startswith("made_from"):
                metrics[f"{name}/{_plain(key.removeprefix('reasons.'))}"] = value
    return metrics


def _plain(name: str) -> str:
    """Return a valid MLflow metric name."""
    return name.replace(" ", "_")
