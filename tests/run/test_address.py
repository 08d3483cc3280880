"""Addresses of served models, as users give them."""

import pytest

from idc_run.address import read_address


@pytest.mark.parametrize("end", ["", "/", "/invocations", "/invocations/"])
def test_the_server_and_its_invocations_are_the_same(end):
    found = read_address(f"http://user:secret@host:5001/models/idc{end}")
    assert found.requests == "http://user:secret@host:5001/models/idc/invocations"
    assert found.shown == "http://host:5001/models/idc"


@pytest.mark.parametrize(
    "given",
    [
        "http://",
        "http://[1",
        "http://:5001",
        "http://a b",
        "http://host:99999",
        "http://host:x",
        "http://host/?beam=3",
        "ftp://host",
    ],
)
def test_what_is_no_address_is_told(given):
    with pytest.raises(ValueError, match="is no address of a server .*; expected such as http://127.0.0.1:5001"):
        read_address(given)
