"""Console output of a run: a progress bar, a table of scores, three captions, and the next commands."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idc_data.wording import counted
from idc_eval.metrics import metric_names, shown
from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from idc_run.tracking.champion import ALIAS

if TYPE_CHECKING:
    from idc_eval.prediction import Prediction
    from idc_eval.score import Scores
    from idc_models.captioner import Captioner

    from idc_run.checkpoint import Checkpoint
    from idc_run.spec import Spec
    from idc_run.training.data import Data

_VALUE = 9
"""Minimum width of a score column."""
_FILE_WIDTH = 160
"""Width of output that goes to a file or a pipe."""


class Console:
    """Prints to the terminal, on the first process only."""

    def __init__(self, *, quiet: bool = False) -> None:
        # markup=False: captions and overrides may contain brackets, which rich would interpret as markup.
        width = None if sys.stdout.isatty() else _FILE_WIDTH
        self._out = RichConsole(quiet=quiet, highlight=False, markup=False, soft_wrap=True, width=width)
        self._select = ""
        self._takes_images = True
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._out,
            transient=True,
        )
        self._task: Any = None

    def say(self, text: str) -> None:
        """Print a line."""
        self._out.print(text, highlight=False)

    def show(self, table: Table) -> None:
        """Print a table."""
        self._out.print(table)

    def checked(self, spec: "Spec", data: "Data", model: "Captioner", loss: float, warnings: Sequence[str]) -> None:
        """Report that the spec is valid."""
        self._describe(spec, data, model, warnings)
        self._out.print(f"first batch: loss {loss:.3f}\nThe spec is valid; nothing was written.")

    def begin(
        self,
        spec: "Spec",
        data: "Data",
        model: "Captioner",
        epoch_steps: int,
        resumed: "Checkpoint | None",
        warnings: Sequence[str],
    ) -> None:
        """Describe the run and start the progress bar."""
        self._describe(spec, data, model, warnings)
        done = resumed.progress["step"] if resumed else 0
        if resumed:
            self._out.print(f"resuming at step {done}")
        self._select = spec.eval.select
        self._takes_images = model.encoder.takes_images
        width = max(len(self._select) + 2, _VALUE)
        self._out.print(f"{'':9}{'loss':>8}{'val/loss':>10}{'lr':>9}{'pairs/s':>9}{self._select:>{width}}")
        self._task = self._bar.add_task("train", total=epoch_steps * spec.train.epochs, completed=done, note="")
        self._bar.start()

    def step(self, step: int, losses: dict[str, float] | None) -> None:
        """Advance the bar."""
        self._bar.update(self._task, completed=step)
        if losses:
            self._bar.update(self._task, note=f"loss {losses['train/loss']:.3f}")

    def epoch(self, epoch: int, scores: dict[str, float], *, best: bool) -> None:
        """Print the epoch's results in one line of less than 80 columns; MLflow has the others."""
        cells = [("train/epoch_loss", ".3f", 8), ("val/loss", ".3f", 10), ("train/lr", ".1e", 9)]
        cells += [("train/pairs_per_second", ",.0f", 9)]
        words = [f"{format(scores[name], form) if name in scores else '-':>{width}}" for name, form, width in cells]
        value = shown(self._select, scores[f"val/{self._select}"])
        words += [f"{value:>{max(len(self._select) + 2, _VALUE)}}", f" in {scores['val/seconds']:.0f} s"]
        self._out.print(f"epoch {epoch:3d}{''.join(words)}{'  best' if best else ''}")

    @contextmanager
    def captioning(self, split: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a progress bar while a split is captioned."""
        task = self._bar.add_task(split, total=total, note="")
        self._bar.start()  # no effect if it is running
        yield lambda num: self._bar.advance(task, num)
        self._bar.remove_task(task)

    def close(self) -> None:
        """Stop and remove the bar; another run may follow."""
        self._bar.stop()
        for task in self._bar.task_ids:
            self._bar.remove_task(task)

    def finished(
        self,
        spec: "Spec",
        scores: "Scores",
        ceiling: dict[str, float],
        predictions: list["Prediction"],
        best: Path,
        registered: tuple[str, str] | None,
        where: str,
    ) -> None:
        """Print the test scores, three captions, the locations of all files, and the next commands.

        Args:
            spec: The spec of the run.
            scores: The test scores.
            ceiling: The scores of one reference against the others.
            predictions: The test predictions.
            best: The best checkpoint.
            registered: The version in the registry, and a sentence about the champion.
            where: The tracker's folder or address of the report; empty without a tracker.
        """
        self._bar.stop()
        table = Table(
            title=f"{spec.name}: test, {counted(scores.n, 'pair')}, protocol {scores.protocol}", title_justify="left"
        )
        table.add_column("metric")
        table.add_column("model", justify="right")
        if ceiling:
            table.add_column("one reference against the others", justify="right")
        for name, value in scores.values.items():
            people = [shown(name, ceiling[name]) if name in ceiling else ""] if ceiling else []
            table.add_row(name, shown(name, value), *people)
        self._out.print(table)
        for name in scores.skipped.keys() & set(metric_names(spec.eval.metrics)):
            self._out.print(f"no {name}: {scores.skipped[name]}")
        if scores.details["note"]:
            self._out.print(f"note: {scores.details['note']}")
        for prediction in predictions[:3]:
            said = prediction.hypothesis or "(empty)"
            self._out.print(f"{prediction.id}\n  reference   {prediction.references[0]}\n  hypothesis  {said}")
        self._out.print(f"\nbest checkpoint  {_short(best)}")
        if where:
            local = Path(where).is_absolute()
            self._out.print(
                f"report           {_short(Path(where) / 'report.html') if local else f'{where}/report.html'}"
            )
        address = _short(best)
        if registered and spec.register_:
            name, (version, standing) = spec.register_.model, registered
            address = f"models:/{name}/{version}"
            self._out.print(f"registered as    {address}; {standing}")
            if f"{ALIAS} is " not in standing:
                self._out.print(f"                 to make it the champion: uv run idc-champion {name} {version}")
        self._next(address, served=registered is not None, tracked=bool(where))

    def scores(self, spec: "Spec", scores: "Scores") -> None:
        """Print the test scores that the spec asks for, in one line."""
        asked = metric_names(spec.eval.metrics)
        self.say(", ".join(f"{name} {shown(name, value)}" for name, value in scores.values.items() if name in asked))

    def _next(self, address: str, *, served: bool, tracked: bool) -> None:
        """Print the next commands for a model, each on its own line so that it can be copied."""
        commands: list[tuple[str, str]] = []
        if self._takes_images:
            commands += [(f"idc-app {address}", "a web page: drop two images")]
            commands += [(f"idc-caption {address} before.png after.png", "one pair, two folders or JSON lines")]
        if served:
            commands += [(f"mlflow models serve -m {address} --env-manager local -p 5001", "REST: docs/serving.md")]
        if tracked:
            commands += [("mlflow ui --workers 1", "runs and curves at http://127.0.0.1:5000: docs/sweeps.md")]
        if commands:
            self._out.print("\nNext:")
        for command, about in commands:
            self._out.print(f"  # {about}\n  uv run {command}")

    def _describe(self, spec: "Spec", data: "Data", model: "Captioner", warnings: Sequence[str]) -> None:
        parameters = sum(parameter.numel() for parameter in model.parameters())
        splits = f"{len(data.train):,}{' new' if data.train.endless else ''} pairs per epoch"
        self._out.print(
            f"{spec.name}: {spec.model.encoder.name} encoder, {spec.model.fusion.name} fusion, "
            f"{spec.model.decoder.name} decoder, {parameters:,} parameters\n"
            f"train on {splits}, validate on {len(data.val):,}, test on {len(data.test):,}; "
            f"{data.tokenizer.size} tokens"
        )
        for warning in warnings:
            self._out.print(f"warning: {warning}")


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
