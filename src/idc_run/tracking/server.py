"""The MLflow server at MLFLOW_TRACKING_URI: a quick check that it answers, and its errors in one line."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from urllib.parse import unquote, urlsplit

from idc_run.address import is_here, mask

_LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")

_MOST = 300  # characters of a server's message: some answer with a page
_STORES = {
    **dict.fromkeys(("botocore", "boto3", "azure", "google"), "the artifact store of MLflow"),
    "sqlalchemy OperationalError": "the database of MLflow or of the sweep",
    "optuna StorageInternalError": "the storage of the sweep",
}
"""Packages and errors that indicate a failing store, not a bug of this program."""


class Outage(ConnectionError):
    """The MLflow server, its artifact store or its database failed during a run."""


def reach(given: str) -> str:
    """Check within seconds whether a server answers; MLflow itself would retry for minutes.

    A login in the address is moved to MLflow's variables for it, because MLflow prints addresses.

    Args:
        given: An http address.

    Returns:
        The address without its login.

    Raises:
        ValueError: No server answers there, or MLflow cannot use its answer.
    """
    parts = urlsplit(given)
    login, _, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    if user and password:
        os.environ.update(zip(_LOGIN, (unquote(user), unquote(password)), strict=True))
        given = parts._replace(netloc=host).geturl()
    if is_here(parts.hostname or ""):
        _spare_proxy(parts.hostname or "")
    probe(given)
    return given


def explain(error: BaseException) -> str | None:
    """Return one line about an error of a server or a store; None if the error may be a bug of this program."""
    package, kind = type(error).__module__.partition(".")[0], type(error).__name__
    store = _STORES.get(package) or _STORES.get(f"{package} {kind}")
    if store:
        return mask(f"{store} failed ({kind}: {str(error)[:_MOST]})")
    if package not in ("mlflow", "requests"):
        return None
    import mlflow
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    server, status = mask(mlflow.get_tracking_uri()), 0
    for each in _chain(error):
        if isinstance(each, MlflowException):
            status = status or each.get_http_status_code()
        elif isinstance(each, RequestException) and each.response is not None:
            status = each.response.status_code
        elif isinstance(each, RequestException):
            return mask(f"MLflow at {server} does not answer ({_reason(each)})")
        elif type(each).__name__ == "OperationalError":
            return mask(f"the database of MLflow at {server} cannot be used ({getattr(each, 'orig', each)})")
    text = mask(str(error)[:_MOST])
    if status == 401:
        return f"MLflow at {server} requires a login (401): set {_LOGIN[0]} and {_LOGIN[1]}, or MLFLOW_TRACKING_TOKEN"
    if status == 403:
        return f"MLflow at {server} denies permission (403: {text}); ask its administrator for access"
    if "deleted" in text:
        return f"MLflow at {server} refused: {text}; restore a deleted run with `mlflow runs restore --run-id ID`"
    if status in (404, 429) or (status >= 500 and server.startswith("http")):
        return f"MLflow at {server} failed ({status}: {text})"
    return None


@contextmanager
def impatient() -> Iterator[None]:
    """Disable MLflow's retries and long timeouts, for requests after a failure."""
    asked = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
    before = {name: os.environ.get(name) for name in asked}
    os.environ.update(asked)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@cache
def quiet_retries() -> None:
    """Shorten the retry messages of MLflow's HTTP client."""

    def plain(record: logging.LogRecord) -> bool:
        if str(record.msg).startswith("Retrying (") and isinstance(record.args, tuple):
            record.msg, record.args = "no answer from %s; retrying", record.args[-1:]
        return True

    logging.getLogger("urllib3.connectionpool").addFilter(plain)


@cache
def probe(server: str) -> None:
    """Check once that a server answers; the error says what to do."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        credentials = get_default_host_creds(server)
        if credentials.ignore_tls_verification:  # the user asked for it; urllib3 would warn about each request
            warnings.filterwarnings("ignore", "Unverified HTTPS request")
        http_request(credentials, "/health", "GET", timeout=20, max_retries=0, raise_on_status=False)
    except MlflowException as error:
        if error.get_http_status_code() == 400:  # contradictory variables; no request was sent
            raise ValueError(mask(error.message)) from error
        reasons = [_reason(each) for each in _chain(error)]
        how = "start it, or unset the variable to write to mlruns/"
        if any("CERTIFICATE_VERIFY_FAILED" in reason for reason in reasons):
            how = "set MLFLOW_TRACKING_SERVER_CERT_PATH to its certificate file, or MLFLOW_TRACKING_INSECURE_TLS=true"
        raise ValueError(
            f"no MLflow server answers at MLFLOW_TRACKING_URI={mask(server)!r} ({mask(reasons[-1])}); {how}"
        ) from error


def _spare_proxy(host: str) -> None:
    """Exclude this machine from proxies, through the variables that MLflow's client reads."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if host not in known.split(","):
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, (known, host)))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: BaseException) -> str:
    """Return the final reason of urllib3, without its list of attempts."""
    inner = error.args[0] if error.args else None
    return str(getattr(inner, "reason", None) or error)
