"""The mlflow module, configured for the server or for the embedded store in `mlruns/`; only for this package."""

import logging
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock
from idc_data.whole import whole

from idc_run.tracking.server import quiet_retries, reach

STORE = "mlruns"


def store() -> Path:
    """Return the nearest `mlruns` folder upwards, or one in the current folder if there is none."""
    here = Path.cwd()
    return next((folder / STORE for folder in (here, *here.parents) if (folder / STORE).is_dir()), here / STORE)


def connect() -> Any:
    """Return the mlflow module, configured for MLFLOW_TRACKING_URI or else for the embedded store."""
    mlflow = quiet_mlflow()
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if not given:
        store().mkdir(exist_ok=True)
        _link(store())
    elif given.startswith(("http://", "https://")):
        given = reach(given)
    mlflow.set_tracking_uri(given or embedded())
    if not given:
        _set_up(store() / "mlflow.db")
    return mlflow


def look_into(problem: str = "") -> Any:
    """Return the mlflow module like `connect`, for reading; creates no store.

    Args:
        problem: The consequence of a missing store, such as "no registered model 'idc'"; the error begins with it.

    Raises:
        ValueError: There is no store.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI") and not store().is_dir():
        where = f"there is no {STORE}/ in {str(Path.cwd())!r} or in a folder above"
        raise ValueError(
            f"{problem and f'{problem}: '}{where}; run the command in the folder of the runs, or set "
            "MLFLOW_TRACKING_URI"
        )
    return connect()


def quiet_mlflow() -> Any:
    """Return the mlflow module with telemetry and chatty messages disabled."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")  # otherwise every model would include the lock file
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Retry a dead server for about a minute, a hanging one for some; MLflow's defaults are 4 and 20 minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    import mlflow

    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    quiet_retries()
    return mlflow


@cache
def _set_up(database: Path) -> None:
    """Create or migrate the database tables, one process at a time; a new database appears complete or not at all."""
    import mlflow

    def open_tables(file: Path) -> None:
        mlflow.MlflowClient(f"sqlite:///{file}").search_experiments(max_results=1)

    with FileLock(store() / ".lock"):
        if not database.exists():
            with whole(database) as unfinished:
                open_tables(unfinished)
        open_tables(database)


def embedded() -> str:
    """Return the address of the database in `mlruns/`."""
    return f"sqlite:///{store() / 'mlflow.db'}"


def _link(folder: Path) -> None:
    """Create a link for plain `mlflow ui` and `mlflow models serve`, whose default is ./mlflow.db."""
    link, database = folder.parent / "mlflow.db", Path(STORE) / "mlflow.db"
    if not (link.exists() or link.is_symlink()):
        with suppress(OSError):  # on Windows, creating links needs a privilege
            link.symlink_to(database)
    if link.is_file() and link.resolve() != (folder / "mlflow.db").resolve():
        _say_that_another_stands_there(link, folder / "mlflow.db")


@cache
def _say_that_another_stands_there(link: Path, database: Path) -> None:
    logging.getLogger(__name__).warning(
        "%s is not the database of the runs, %s, but plain mlflow commands read it: move it away, and the next run "
        "creates a link in its place",
        link,
        database,
    )
