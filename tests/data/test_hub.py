"""A download from the hub that fails is one error, without a line for each retry."""

import logging

import pytest
from idc_data.hub import without_retries_logged

hub = pytest.importorskip("huggingface_hub.utils.logging")


def test_retries_are_not_logged_and_afterwards_they_are_again(caplog):
    logger, before = logging.getLogger("huggingface_hub.utils._http"), hub.get_verbosity()
    with without_retries_logged():
        assert not logger.isEnabledFor(logging.WARNING) and logger.isEnabledFor(logging.ERROR)
    assert hub.get_verbosity() == before and logger.isEnabledFor(logging.WARNING)
    with pytest.raises(OSError, match="gone"), without_retries_logged():
        raise OSError("gone")
    assert hub.get_verbosity() == before
