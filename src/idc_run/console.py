"""What a person sees of a run: a progress bar, a short table, three captions, and what to type next."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from idc_eval.prediction import Prediction
    from idc_eval.score import Scores
    from idc_models.captioner import Captioner

    from idc_run.checkpoint import Checkpoint
    from idc_run.data import Data
    from idc_run.spec import Spec


class Console:
    """Prints to the terminal; silent on all processes but the first."""

    def __init__(self, *, quiet: bool = False) -> None:
        # Captions and overrides may hold brackets, which rich would take for markup.
        self._out = RichConsole(quiet=quiet, highlight=False, markup=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
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
        """Say that a spec would run."""
        self._describe(spec, data, model, warnings)
        self._out.print(f"first batch: loss {loss:.3f}\nThe spec is fine; nothing was written.")

    def begin(
        self,
        spec: "Spec",
        data: "Data",
        model: "Captioner",
        epoch_steps: int,
        resumed: "Checkpoint | None",
        warnings: Sequence[str],
    ) -> None:
        """Say what begins, and start the bar."""
        self._describe(spec, data, model, warnings)
        done = resumed.progress["step"] if resumed else 0
        if resumed:
            self._out.print(f"going on at step {done}")
        self._task = self._bar.add_task("train", total=epoch_steps * spec.train.epochs, completed=done, note="")
        self._bar.start()

    def step(self, step: int, losses: dict[str, float] | None) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=step)
        if losses:
            shown = " ".join(f"{name.partition('/')[2]} {value:.3f}" for name, value in losses.items())
            self._bar.update(self._task, note=shown)

    def epoch(self, epoch: int, scores: dict[str, float], *, best: bool) -> None:
        """Print a line of validation scores."""
        shown = " ".join(
            f"{name.partition('/')[2]} {value:.3f}"
            for name, value in scores.items()
            if "bleu-" not in name or name.endswith("4")
        )
        self._out.print(f"epoch {epoch:3d}  {shown}{'  best' if best else ''}")

    @contextmanager
    def captioning(self, split: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar while a split is captioned."""
        task = self._bar.add_task(split, total=total, note="")
        self._bar.start()  # which it may be
        yield lambda num: self._bar.advance(task, num)
        self._bar.remove_task(task)

    def close(self) -> None:
        """Stop the bar and take it away; another run may follow."""
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
    ) -> None:
        """Print the test scores, three captions and the next two commands.

        Args:
            spec: Of the run.
            scores: Of the test.
            ceiling: What one reference scores against the others.
            predictions: Of the test.
            best: The checkpoint.
            registered: Its version in the registry, and a sentence on the champion.
        """
        self._bar.stop()
        table = Table(title=f"{spec.name}: test, {scores.n} pairs, protocol {scores.protocol}", title_justify="left")
        table.add_column("metric")
        table.add_column("model", justify="right")
        table.add_column("one reference against the others", justify="right")
        for name, value in scores.values.items():
            table.add_row(name, f"{value:.4f}", f"{ceiling[name]:.4f}" if name in ceiling else "")
        self._out.print(table)
        for name in scores.skipped.keys() & set(spec.eval.metrics):
            self._out.print(f"no {name}: {scores.skipped[name]}")
        for prediction in predictions[:3]:
            self._out.print(
                f"{prediction.id}\n  reference   {prediction.references[0]}\n  hypothesis  {prediction.hypothesis}"
            )
        self._out.print(f"best checkpoint: {_short(best)}")
        if registered and spec.register_:
            name, (version, standing) = spec.register_.model, registered
            served = f"models:/{name}/{version}"
            self._out.print(f"registered as {served}; {standing}")
            if f"is now version {version}" not in standing:
                self._out.print(f"  to make it the champion all the same: uv run idc-champion {name} {version}")
        if spec.tracking == "mlflow":
            self._out.print(
                "\nNext:\n  uv run mlflow ui --workers 1                # compare runs at http://127.0.0.1:5000"
            )
            if registered and spec.register_:
                served = f"models:/{spec.register_.model}/{registered[0]}"
                self._out.print(f"  uv run mlflow models serve -m {served} --env-manager local -p 5001")

    def _describe(self, spec: "Spec", data: "Data", model: "Captioner", warnings: Sequence[str]) -> None:
        parameters = sum(parameter.numel() for parameter in model.parameters())
        splits = f"{len(data.train):,}{' fresh' if data.train.endless else ''} pairs per epoch"
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
