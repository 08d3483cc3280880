"""MLflow servers that refuse, fail or go away, played by a small HTTP server: one line each, and nothing is lost."""

import json
import os
import re
import socket
import ssl
import threading
import uuid
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from idc_run.cli import run
from idc_run.errors import OneLineErrors
from idc_run.spec import load_values
from idc_run.sweeps import study
from idc_run.tracking import server
from idc_run.tracking.mlflow_tracker import MlflowTracker
from idc_run.tracking.store import connect, store

pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")

EXPERIMENT = {"experiment_id": "7", "name": "plain", "lifecycle_stage": "active"}


class Server:
    """So much of MLflow as a run without a model to register needs.

    Attributes:
        address: Where it listens.
        asked: The paths of all requests, and what Authorization they had.
        answers: By the end of a path: the status and text that are given instead.
    """

    def __init__(self, tls=None):
        self.asked, self.answers, self.status = [], {}, "RUNNING"
        self.run = uuid.uuid4().hex  # MLflow remembers where the artifacts of a run go
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer._answer(self)

            do_POST = do_PUT = do_GET

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.address = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request):
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        path = urlsplit(request.path).path
        self.asked.append((path, request.headers.get("Authorization")))
        status, text = next(
            (answer for end, answer in self.answers.items() if re.search(end, path)),
            (200, json.dumps(self._usual(path, body))),
        )
        request.send_response(status)
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text.encode())

    def _usual(self, path, body):
        info = {
            "run_id": self.run,
            "run_uuid": self.run,
            "experiment_id": "7",
            "status": self.status,
            "lifecycle_stage": "active",
        }
        info |= {"artifact_uri": f"mlflow-artifacts:/7/{self.run}/artifacts", "run_name": "tiny", "start_time": 1}
        if path.endswith("runs/update"):
            self.status = json.loads(body)["status"]
            return {"run_info": info}
        if path.endswith(("runs/create", "runs/get")):
            return {"run": {"info": info, "data": {}, "inputs": {}}}
        return {"experiment": EXPERIMENT} if "experiments/get" in path else {}


@pytest.fixture
def mlflow(tiny, monkeypatch):
    """The server, to which `connect` leads; asked once, since a minute of patience is for people."""
    playing = Server()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", playing.address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")
    server.probe.cache_clear()
    yield playing
    playing.close()


def told(*words):
    return line_of(CliRunner().invoke(run, ["tiny.yaml", "-s", "tracking=mlflow", *words]))


def begun():
    return line_of(CliRunner().invoke(OneLineErrors("x", callback=lambda: MlflowTracker("plain"), stopped=""), []))


def line_of(done):
    assert done.exit_code == 2 and "Traceback" not in done.output, done.output
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ")
    return line


@pytest.mark.slow
def test_a_run_is_tracked_and_its_login_is_sent_but_not_shown(mlflow, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:s%40cret@127.0.0.1:{mlflow.port}")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nothing to this machine goes through it
    done = CliRunner().invoke(run, ["tiny.yaml", "-s", "tracking=mlflow"])
    assert done.exit_code == 0, done.output
    assert {login for _, login in mlflow.asked} == {"Basic YW5uOnNAY3JldA=="} and mlflow.status == "FINISHED"
    assert "cret" not in done.output and f"127.0.0.1:{mlflow.port}/#/experiments/7" in done.output
    assert any(path.endswith("/report.html") for path, _ in mlflow.asked)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            401,
            r"requires a login \(401\): set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        ),
        (403, r"denies permission \(403: .*Permission denied.*administrator"),
        (404, r"failed \(404: "),
        (500, r"does not answer \(too many 500 error responses\)"),
    ],
)
def test_a_server_that_refuses_is_one_line(mlflow, status, words):
    mlflow.answers["/get-by-name"] = (status, "Permission denied")
    assert re.search(f"MLflow at {mlflow.address} {words}", begun())
    assert len(mlflow.asked) == 2


def test_a_deleted_experiment_says_how_to_restore_it(mlflow):
    gone = EXPERIMENT | {"lifecycle_stage": "deleted"}
    mlflow.answers["/get-by-name"] = (200, json.dumps({"experiment": gone}))
    assert (
        "MLflow experiment 'plain', number 7, was deleted: restore it with `mlflow experiments restore -x 7`" in begun()
    )


@pytest.mark.slow
def test_a_store_that_fails_at_the_end_costs_nothing(mlflow):
    mlflow.answers["/report.html"] = (500, "no space")
    line = told()
    assert "too many 500 error responses" in line and "--resume" in line
    assert re.search(rf"; \S+/{mlflow.run}/last.safetensors is kept; ", line) and mlflow.status == "FAILED"
    del mlflow.answers["/report.html"]
    steps = [path for path, _ in mlflow.asked if path.endswith("/log-batch")]
    done = CliRunner().invoke(run, ["tiny.yaml", "-s", "tracking=mlflow", "--resume"])
    assert done.exit_code == 0 and "resuming at step 8" in done.output, done.output
    assert mlflow.status == "FINISHED" and not list(mlflow_folder().glob("*/last.safetensors"))
    assert [path for path, _ in mlflow.asked if path.endswith("/report.html")][1:]
    assert len([path for path, _ in mlflow.asked if path.endswith("/log-batch")]) < 2 * len(steps), "no training again"


@pytest.mark.slow
def test_a_server_that_does_not_come_back_costs_no_step_that_was_kept(mlflow, monkeypatch):
    mlflow.answers["/log-batch"] = (503, "")
    line = told("-s", "train.checkpoint_every=1")
    assert "run the same command again" in line
    mlflow.answers.clear()
    mlflow.answers["weights.json"] = (503, "")
    assert "last.safetensors is kept; run the same command with --resume" in told()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::optuna", "ignore:::matplotlib")
def test_an_outage_ends_a_sweep_and_the_same_command_goes_on_with_it(mlflow):
    words = ("-s", "sweep={space: {seed: [1, 2]}, sampler: grid, seeds: 0}", "-s", "train.epochs=1")
    mlflow.answers["weights.json"] = (503, "")
    line = told(*words)
    assert f"MLflow at {mlflow.address} does not answer" in line or "too many 503 error responses" in line
    assert line.endswith("run the same command to continue the sweep") and mlflow.status == "FAILED"
    values = load_values(Path("tiny.yaml"), [word for word in (*words, "tracking=mlflow") if word != "-s"])
    (ended,) = study.open_sweep(values).study.get_trials()
    assert ended.state.name == "FAIL" and "cause" not in ended.user_attrs, "nothing is wrong with the trial"
    mlflow.answers.clear()
    done = CliRunner().invoke(run, ["tiny.yaml", "-s", "tracking=mlflow", *words])
    assert done.exit_code == 0 and "resuming at step" in done.output, done.output
    trials = study.open_sweep(values).study.get_trials()
    assert [(each.user_attrs["item"], each.state.name) for each in trials] == [
        *((0, state) for state in ("FAIL", "COMPLETE")),
        (1, "COMPLETE"),
    ]


def mlflow_folder():
    (folder,) = (path for path in (store() / "checkpoints").iterdir() if list(path.glob("*/best.safetensors")))
    return folder


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"lifecycle_stage": "deleted"}, "was deleted: restore it with `mlflow runs restore --run-id RUN`"),
        (None, "has no run 'RUN', to which the checkpoint belongs; omit --resume"),
    ],
)
def test_resuming_a_deleted_run_says_how_to_restore_it(mlflow, answer, words):
    if answer is None:
        mlflow.answers["/runs/get"] = (404, json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"}))
    else:
        found = mlflow._usual("/runs/get", b"")["run"]
        found["info"] |= answer
        mlflow.answers["/runs/get"] = (200, json.dumps({"run": found}))
    with pytest.raises(ValueError) as caught:
        MlflowTracker("plain").begin("tiny", {}, {}, {}, mlflow.run)
    assert words in str(caught.value).replace(mlflow.run, "RUN")


def test_tags_of_mlflow_hide_the_token_of_a_git_remote(mlflow, monkeypatch):
    import mlflow.tracking.context.registry as registry

    kept = []
    monkeypatch.setattr(registry, "resolve_tags", lambda: {"mlflow.source.git.repoURL": "https://ci:tok@host/x.git"})
    tracker = MlflowTracker("plain")
    monkeypatch.setattr("mlflow.start_run", lambda **words: kept.append(words["tags"]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tracker.begin("a", {}, {}, {})
    assert kept == [{"mlflow.source.git.repoURL": "https://***@host/x.git"}]


def test_a_fault_of_this_program_keeps_its_traceback(mlflow):
    connected = connect()
    for error in (
        connected.exceptions.MlflowException.invalid_parameter_value("a parameter that is none"),
        RuntimeError("ours"),
    ):

        def fail(error=error):
            raise error

        command = OneLineErrors("x", callback=fail, stopped="")
        assert CliRunner().invoke(command, []).exception is error


def test_one_that_failed_ends_without_hiding_why(mlflow):
    assert server.explain(ValueError("its own words")) is None
    with server.impatient():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "20"
    assert os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT") != "20"


@pytest.fixture
def certificate(tmp_path):
    """A file with a key and a certificate for this machine that nobody else has signed."""
    key, path = ec.generate_private_key(ec.SECP256R1()), tmp_path / "cert.pem"
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")]), datetime.now(UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    draft = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    draft = draft.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    signed = draft.add_extension(here, critical=False).sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + signed.public_bytes(Encoding.PEM))
    return path


def test_a_certificate_that_nobody_signed_is_trusted_where_mlflow_is_told_to(mlflow, certificate, monkeypatch):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    playing = Server(tls)
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", playing.address)
        line = begun()
        assert "CERTIFICATE_VERIFY_FAILED" in line and "set MLFLOW_TRACKING_SERVER_CERT_PATH" in line
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate))
        assert MlflowTracker("plain").experiment == "7"
        monkeypatch.delenv("MLFLOW_TRACKING_SERVER_CERT_PATH")
        server.probe.cache_clear()
        monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
        assert MlflowTracker("plain").experiment == "7"
    finally:
        playing.close()


def test_nothing_listens_is_said_at_once_and_without_the_password(tiny, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:secret@127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
        line = begun()
    assert "no MLflow server answers at MLFLOW_TRACKING_URI='http://127.0.0.1:" in line
    assert "secret" not in line and "Connection refused" in line
