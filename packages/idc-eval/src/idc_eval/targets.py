"""What commands read: a predictions file, a folder with one, or a tracked run."""

import json
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click

from idc_eval.whole import read_text

PREDICTIONS = "predictions.jsonl"
_RUN = re.compile(r"(?:runs:/)?([0-9a-f]{32})")


class Target(click.ParamType):
    """A predictions file, a folder with `predictions.jsonl`, or the id of a run; the value is the file or folder.

    Entry points of the group `idc.runs` find runs: functions from an id to the folder of its artifacts, which
    raise ValueError for an unknown run. idc-run registers one that asks MLflow.
    """

    name = "file|folder|run"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Find the file."""
        path = Path(value)
        if path.is_file():
            return path
        if path.is_dir():
            return self._checked(path, str(value), param, ctx)
        run = _RUN.fullmatch(str(value))
        if not run:
            self.fail(f"{str(value)!r} is not a file, a folder or the id of a run (32 hex digits)", param, ctx)
        reasons = []
        for tracker in entry_points(group="idc.runs"):
            try:
                return self._checked(tracker.load()(run[1]), str(value), param, ctx)
            except ValueError as error:
                reasons.append(str(error))
        self.fail(
            "; ".join(reasons) or "no installed package can look up runs; idc-run can: install it with `uv sync`",
            param,
            ctx,
        )

    def _checked(self, folder: Path, name: str, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if not (folder / PREDICTIONS).is_file():
            self.fail(
                f"there is no {PREDICTIONS} in {name!r}; give a predictions file or the folder of a run", param, ctx
            )
        return folder


def predictions_file(target: Path) -> Path:
    """Return the predictions file of a target."""
    return target / PREDICTIONS if target.is_dir() else target


def shown(target: Path) -> str:
    """Return a short name of a target; for a run, its id."""
    return target.parent.name if target.name == "artifacts" else str(target)


def recorded(target: Path) -> dict[str, Any]:
    """Return the settings of the scores in a folder, as keywords of `score`: `protocol` and `no_change`.

    Without recorded settings, and for a bare file: `plain` and no sentences.

    Raises:
        ValueError: Its scores.json is damaged.
    """
    scores = target / "scores.json"
    if not scores.is_file():
        return {"protocol": "plain", "no_change": ()}
    try:
        kept = json.loads(read_text(scores))
        return {"protocol": str(kept["protocol"]), "no_change": tuple(kept.get("details", {}).get("no_change", ()))}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{scores} is not a file of scores: {error!r}; remove it, or give --protocol") from error
