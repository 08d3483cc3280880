"""What the benchmark of the server counts, against a server that fails in turns."""

import http.server
import importlib.util
import itertools
import threading
from pathlib import Path

import pytest

# What mlflow itself is warned of, by sqlalchemy and by its own type hints.
pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")


@pytest.fixture
def failing():
    """The port of a server whose answers are right, wrong, a refusal, and none; and how many it gave of each."""
    given, turns, lock = dict.fromkeys(("right", "wrong", "refused", "cut"), 0), itertools.count(), threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                kind = list(given)[next(turns) % 4]
                given[kind] += 1
            if kind == "cut":
                self.close_connection = True
                return
            body = b'{"predictions": [{"caption": "%s"}]}' % (b"no" if kind == "wrong" else b"yes")
            self.send_response(503 if kind == "refused" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    yield server.server_port, given
    server.shutdown()
    server.server_close()


def test_every_request_is_counted_as_what_became_of_it(failing):
    found = importlib.util.spec_from_file_location("load", Path(__file__).parents[2] / "benchmarks/serving.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    port, given = failing
    got = module.load(port, [(b"{}", "yes")], clients=3, seconds=0.6)
    assert min(given.values()) > 0
    assert (len(got.times), len(got.wrong)) == (given["right"] + given["wrong"], given["wrong"])
    assert len(got.errors) == given["refused"] + given["cut"]
