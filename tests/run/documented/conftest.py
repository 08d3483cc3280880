import pytest
from documented.world import build


@pytest.fixture(scope="session")  # one for all pages that a process types
def world(tmp_path_factory):
    """The copy, with a registered model that is served, and with what else the pages speak of."""
    made = build(tmp_path_factory.mktemp("documented") / "checkout")
    with made.serving("mlflow models serve -m models:/idc@champion --env-manager local -p PORT", "/health") as address:
        made.names["http://127.0.0.1:5001"] = address
        yield made
