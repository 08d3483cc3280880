"""Downloads from the Hugging Face hub."""

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_retries_logged() -> Iterator[None]:
    """Leave out the lines that the hub's library logs at each retry: the error at the end says why a download failed.

    It is imported first, because it sets its level when it is.
    """
    try:
        library: Any = importlib.import_module("huggingface_hub.utils.logging")
    except ImportError:  # nothing downloads then
        yield
        return
    level = library.get_verbosity()
    library.set_verbosity(max(level, logging.ERROR))
    try:
        yield
    finally:
        library.set_verbosity(level)
