"""Markdown descriptions of runs, registered models and versions for MLflow's pages."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from idc_eval.metrics import metric_names, shown
from idc_eval.score import Scores

from idc_run.address import mask
from idc_run.spec import Spec

DESCRIPTION = "mlflow.note.content"
"""Tag of a run that the UI shows as its description."""

_LONGEST, _MOST = 1000, 5000
"""Maximum length of a command, and of a version's description, which some MLflow databases limit."""


def of_run(
    spec: Spec, pairs: Mapping[str, int], scores: Scores, ceiling: Scores | None, run_id: str, made_from: str = ""
) -> str:
    """Describe a tested run.

    Args:
        spec: The spec of the run.
        pairs: Number of pairs of each split.
        scores: The test scores.
        ceiling: The scores of one reference against the others, if pairs have several.
        run_id: The MLflow run id.
        made_from: A sentence on how the data was generated, if that was tracked.
    """
    parts = " + ".join(f"{part.name} {kind}" for kind, part in spec.model)
    sizes = ", ".join(f"{number:,} {split}" for split, number in pairs.items())
    asked = metric_names(spec.eval.metrics)
    people = {name: shown(name, value) for name, value in ceiling.values.items()} if ceiling else {}
    head = ["test, x 100", "model", *(["one reference against the others"] if ceiling else [])]
    rows = [
        [name, shown(name, value), *([people.get(name, "")] if ceiling else [])]
        for name, value in scores.values.items()
        if name in asked
    ]
    table = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    told = [
        f"**{spec.name}**: describes what changed between two images. {parts}.",
        f"Data: {spec.completed()['data']['dataset']['name']} at {spec.data.image_size} px; pairs: {sizes}. "
        f"Protocol: {scores.protocol}. {made_from}".rstrip(),
        "\n".join(f"| {' | '.join(row)} |" for row in table),
        f"Note: {scores.details['note']}" if scores.details.get("note") else "",
        "Examples: `samples.png` and `report.html` under Artifacts.",
        _code(*command(), f"uv run idc-run --from-run {run_id}  # repeats it and reports differences"),
    ]
    return "\n\n".join(filter(None, told))


def of_version(run: str, address: str) -> str:
    """Describe a version of a registered model.

    Args:
        run: The description of its run.
        address: `models:/NAME/VERSION`.
    """
    serve = _serve(address)
    return "\n\n".join(filter(None, [run[: _MOST - len(serve) - 2], serve]))


def of_model(name: str) -> str:
    """Describe a registered model.

    Args:
        name: The name in the registry.
    """
    return (
        "Describes what changed between two images. `champion` is the version with the best validation score, unless a "
        "person has chosen another one. Each version has its own description; "
        f"`uv run idc-champion {name}` lists them.\n\n{_serve(f'models:/{name}@champion')}"
    )


def _serve(address: str) -> str:
    return _code(
        f"uv run idc-app {address}",
        f"uv run idc-caption {address} before.png after.png",
        f"uv run mlflow models serve -m {address} --env-manager local -p 5001",
    )


def _code(*lines: str) -> str:
    return "\n".join(["```sh", *lines, "```"])


def command() -> list[str]:
    """Return the idc-run command of this process, or nothing if it is another program or too long."""
    command = mask(shlex.join(["idc-run", *sys.argv[1:]]))
    return [f"uv run {command}"] if Path(sys.argv[0]).stem == "idc-run" and len(command) < _LONGEST else []
