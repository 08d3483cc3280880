"""What commands read: a predictions file, a folder that holds one, or a run that a tracker knows."""

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
    """A predictions file, a folder with `predictions.jsonl`, or the id of a run; gives the file or the folder.

    Runs are found by the entry points of the group `idc.runs`: functions from an id to the folder of its artifacts,
    which raise a ValueError where there is no such run. idc-run registers the one that asks MLflow.
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
            self.fail(f"{str(value)!r} is no file, no folder and no id of a run (32 hex digits)", param, ctx)
        reasons = []
        for tracker in entry_points(group="idc.runs"):
            try:
                return self._checked(tracker.load()(run[1]), str(value), param, ctx)
            except ValueError as error:
                reasons.append(str(error))
        self.fail(
            "; ".join(reasons) or "no installed package knows runs; idc-run does, which `uv sync` installs", param, ctx
        )

    def _checked(self, folder: Path, given: str, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if not (folder / PREDICTIONS).is_file():
            self.fail(f"{given!r} holds no {PREDICTIONS}; give a predictions file or the folder of a run", param, ctx)
        return folder


def predictions_file(target: Path) -> Path:
    """The predictions file of a target."""
    return target / PREDICTIONS if target.is_dir() else target


def shown(target: Path) -> str:
    """A target in few words: a run by its id."""
    return target.parent.name if target.name == "artifacts" else str(target)


def recorded(target: Path) -> dict[str, Any]:
    """What the scores in a folder were computed under, as keywords of `score`: `protocol` and `no_change`.

    Where nothing says so, and for a bare file, that is `plain` and no sentence.

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
        raise ValueError(f"{scores} is no file of scores: {error!r}; remove it, or give --protocol") from error
