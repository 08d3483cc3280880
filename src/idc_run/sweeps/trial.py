"""The role of a run that is a trial of a sweep: its name, resumption, and reports to the study."""

import json
from collections.abc import Callable
from pathlib import Path

from optuna import Trial as Attempt

from idc_run.console import Console
from idc_run.progress import Progress
from idc_run.space import with_values
from idc_run.spec import Spec, make_spec
from idc_run.sweeps.queue import seed_of
from idc_run.sweeps.study import LATENCY, Sweep
from idc_run.tracking import parent
from idc_run.tracking.naming import setting_names
from idc_run.tracking.tracker import Ended
from idc_run.training.role import Finished, Place
from idc_run.training.unfinished import Unfinished, folder_of, kept, open_unfinished


class Pruned(Ended):
    """The sweep ends an unpromising trial."""


class Trial:
    """A run as a trial of a sweep.

    Args:
        sweep: The sweep.
        attempt: The trial of the study.
        run: The id of the sweep's run in MLflow; empty without tracking.

    Attributes:
        spec: The spec of the trial.
        labels: The chosen values by path, for display.
        at_best: The scores of the best epoch so far.

    Raises:
        ValueError: The chosen values do not give a valid spec.
    """

    def __init__(self, sweep: Sweep, attempt: Attempt, run: str) -> None:
        self._sweep, self._attempt, self._run = sweep, attempt, run
        self._seed = seed_of(attempt.user_attrs["item"])
        spec = make_spec(with_values(sweep.values, sweep.chosen(attempt)), f"trial {attempt.number}")
        self.spec = spec if self._seed is None else spec.model_copy(update={"seed": spec.seed + self._seed})
        self.labels = {path: _short(label) for path, label in attempt.params.items()}
        self.at_best: dict[str, float] = {}
        self._reported = 0

    def announcement(self) -> str:
        """Return a line that announces the trial."""
        item, number = self._attempt.user_attrs["item"], self._attempt.number
        if isinstance(item, int):
            what = ", ".join(" ".join(each) for each in self.labels.items()) or "no changes"
            return f"trial {number}, {item + 1} of {len(self._sweep.tries)}: {what}"
        return f"trial {number}: the best trial, {self._sweep.best().number}, with seed {self.spec.seed}"

    @property
    def tests(self) -> bool:
        """Whether the trial is tested: repetitions of the best one are; with `seeds: 0` all are."""
        return self._seed is not None or not self._sweep.search.seeds

    def place(self, spec: Spec) -> Place:
        """Return a place below the sweep's run, in the experiment with its name."""
        if self._seed is not None:
            name, tags = f"best: seed {spec.seed}", {"trial": f"best, seed {spec.seed}"}
        else:
            name = ", ".join(setting_names(self.labels)) or self._sweep.spec.name
            tags = {"trial": str(self._attempt.number), "chosen": json.dumps(self.labels)}
        tags |= {"sweep": self._sweep.study.study_name} | ({parent.PARENT: self._run} if self._run else {})
        return Place(self._sweep.spec.name, name, tags)

    def unfinished(self, spec: Spec, say: Callable[[str], None]) -> Unfinished | None:
        """Return the checkpoint of a killed attempt; if there is none here, mark its run as failed."""
        run = self._attempt.user_attrs.get("goes_on")
        if not run:
            return None
        # A checkpoint holds the history of the selected metric only.
        enough = set(self._sweep.objectives) <= {self._sweep.spec.eval.select, LATENCY}
        for path in kept(folder_of(spec) / run) if enough else ():
            try:
                return open_unfinished(path, spec)
            except ValueError as error:
                say(f"trial {self._attempt.number}: skipped: {error}")
        if self._sweep.spec.tracking == "mlflow":
            parent.give_up(run)
        return None

    def begun(self, run_id: str) -> None:
        """Record the run in the study."""
        self._attempt.set_user_attr("run", run_id)

    def epoch(self, progress: Progress, scores: dict[str, float]) -> None:
        """Store the scores of the best epoch, and report to the study.

        Raises:
            Pruned: The trial is worse than the others.
        """
        self._attempt.set_user_attr("epoch", progress.epoch)
        if progress.best_epoch == progress.epoch:
            self.at_best.update(scores)
        names = list(self._sweep.objectives)
        if len(names) > 1 or names[0] == LATENCY or self._seed is not None:
            return
        if names[0] == self._sweep.spec.eval.select:  # a resumed trial also reports its earlier epochs
            for number, (_, score) in enumerate(progress.scores[self._reported :], start=self._reported + 1):
                self._attempt.report(score, number)
            self._reported = len(progress.scores)
        else:
            self._attempt.report(scores[f"val/{names[0]}"], progress.epoch)
        if self._attempt.should_prune():
            raise Pruned

    def show(self, console: Console, finished: Finished) -> None:
        """Print the scores in one line."""
        console.scores(finished.spec, finished.tested.scores)

    def remedy(self, folder: Path | None) -> str:
        """Return the advice for continuing a sweep."""
        return "run the same command to continue the sweep"


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
