"""MLflow itself, for this room alone: the module, pointed at the server or at the embedded store in `mlruns/`."""

import logging
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from idc_run.tracking.server import quiet_retries, reach

STORE = "mlruns"


def store() -> Path:
    """The `mlruns` folder: that of the nearest folder upwards which has one, else in the current folder."""
    here = Path.cwd()
    return next((folder / STORE for folder in (here, *here.parents) if (folder / STORE).is_dir()), here / STORE)


def connect() -> Any:
    """Give the mlflow module, pointed at the embedded store unless MLFLOW_TRACKING_URI says otherwise."""
    mlflow = quiet_mlflow()
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if not given:
        store().mkdir(exist_ok=True)
        _link(store())
    elif given.startswith(("http://", "https://")):
        given = reach(given)
    mlflow.set_tracking_uri(given or embedded())
    if not given:
        _set_up(embedded())
    return mlflow


def look_into(problem: str = "") -> Any:
    """Give the mlflow module as `connect` does, to read what is there: it makes no store.

    Args:
        problem: What it means if there is none, such as "no registered model 'idc'"; the error begins with it.

    Raises:
        ValueError: There is none.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI") and not store().is_dir():
        where = f"there is no {STORE}/ in {str(Path.cwd())!r} or in a folder above"
        raise ValueError(
            f"{problem and f'{problem}: '}{where}; type this where the runs are, or set MLFLOW_TRACKING_URI"
        )
    return connect()


def quiet_mlflow() -> Any:
    """Give the mlflow module, which else talks of itself, to people and to its makers."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")  # else every model carries a copy of the lock file
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # A server that has gone is waited for a minute, one that hangs for some; MLflow's own are 4 minutes and 20.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    import mlflow

    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    quiet_retries()
    return mlflow


@cache
def _set_up(database: str) -> None:
    """Let one process at a time make the tables of a new database, or bring an old one up to date."""
    import mlflow

    with FileLock(store() / ".lock"):
        mlflow.MlflowClient(database).search_experiments(max_results=1)


def embedded() -> str:
    """Give the address of the database in `mlruns/`."""
    return f"sqlite:///{store() / 'mlflow.db'}"


def _link(folder: Path) -> None:
    """Let plain `mlflow ui` and `mlflow models serve` find the store: their default is ./mlflow.db."""
    link, database = folder.parent / "mlflow.db", Path(STORE) / "mlflow.db"
    if not (link.exists() or link.is_symlink()):
        with suppress(OSError):  # Windows lets few people make one
            link.symlink_to(database)
    if link.is_file() and link.resolve() != (folder / "mlflow.db").resolve():
        _say_that_another_stands_there(link, folder / "mlflow.db")


@cache
def _say_that_another_stands_there(link: Path, database: Path) -> None:
    logging.getLogger(__name__).warning(
        "%s is another database than that of the runs, %s, and plain mlflow commands read the former: move it away, "
        "and the next run puts a link in its place",
        link,
        database,
    )
