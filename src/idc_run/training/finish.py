"""After training: test the best checkpoint once, log the results, and register it."""

import torch

from idc_run.checkpoint import load_checkpoint, save_checkpoint
from idc_run.console import Console
from idc_run.spec import Spec
from idc_run.tracking import artifacts, note, provenance, registry
from idc_run.tracking.artifacts import Tested
from idc_run.tracking.champion import Standing
from idc_run.tracking.generation import source
from idc_run.training.data import Data, identity
from idc_run.training.describe import described
from idc_run.training.fit import Fitted
from idc_run.training.role import Finished, Role
from idc_run.training.scoring import caption_split, examine
from idc_run.training.tracked import Run


def finish(
    spec: Spec, role: Role, run: Run, fitted: Fitted, data: Data, device: torch.device, console: Console
) -> dict[str, float]:
    """Finish a run according to its role; return the test scores, or none if the role does not test.

    Args:
        spec: The experiment.
        role: The role of the run.
        run: The run.
        fitted: The result of training.
        data: The data of the run.
        device: The device to test on.
        console: Shows progress and results.
    """
    best, path = load_checkpoint(fitted.checkpoint), fitted.checkpoint
    run.tracker.json({"weights": provenance.digest(best.self_contained().weights)})
    if not role.tests:
        return {}
    model = best.build(device)
    model.kept = data.kept
    best = described(best, model, data)
    save_checkpoint(path, best)
    predictions = caption_split(spec, model, data.test, data.tokenizer, device, console, "test", best.description)
    tested = examine(spec, predictions)
    run.tracker.metrics({f"test/{name}": value for name, value in tested.scores.values.items()}, fitted.progress.step)
    artifacts.log_results(spec, data.test, tested, run.tracker, fitted.progress)
    about = _about(spec, data, tested, run.id)
    run.tracker.tag(note.DESCRIPTION, about)
    registered = None
    if spec.register_ and spec.tracking == "mlflow":
        standing = Standing(f"val/{spec.eval.select}", spec.eval.protocol, identity(spec, data.val), fitted.best)
        registered = registry.register(path, spec.register_.model, standing, about)
    role.show(console, Finished(spec, tested, path, registered, run.tracker.where()))
    return tested.scores.values


def _about(spec: Spec, data: Data, tested: Tested, run_id: str) -> str:
    """Return the description of the run in MLflow."""
    pairs = {"train": len(data.train), "val": len(data.val), "test": len(data.test)}
    made_from = source(spec.completed()["data"]["dataset"]).get(note.DESCRIPTION, "")
    return note.of_run(spec, pairs, tested.scores, tested.ceiling, run_id, made_from)
