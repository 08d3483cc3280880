"""Captions to token ids and back, by the tokenizer that a spec names: one class for training and serving.

Importing this needs neither torch nor the `tokenizers` library; a tokenizer that uses it imports it itself.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from idc_data.installed import entries
from idc_data.named import resolve
from idc_data.tokenizers.base import Tokenizer
from idc_data.tokenizers.words import of_library

__all__ = ["Tokenizer", "make_tokenizer", "read_tokenizer", "resolve_tokenizer", "tokenizer_name", "write_tokenizer"]

GROUP = "idc.tokenizers"
"""Of the entry points under which tokenizers are installed."""


def resolve_tokenizer(given: str | Mapping[str, Any]) -> tuple[type[Tokenizer], dict[str, Any]]:
    """Find the class of a tokenizer and all of its settings, checked, with defaults filled in; nothing is made.

    Args:
        given: An installed name (`words`, `bpe`, `hf`), `package.module:Class`, or `{"name": either, setting: value}`.

    Raises:
        ValueError: The name or a setting is unknown or of the wrong type; the nearest known one is named.
    """
    return resolve("tokenizer", given, _installed(), base=Tokenizer, made_by="train")


def make_tokenizer(given: str | Mapping[str, Any], captions: Iterable[str], max_length: int) -> Tokenizer:
    """Make the tokenizer that a spec names.

    Args:
        given: As `resolve_tokenizer` takes it.
        captions: Of the training split only.
        max_length: Most tokens of an encoded caption, beginning and end included.

    Raises:
        ValueError: As `resolve_tokenizer`; or nothing can be learnt from these captions.
    """
    tokenizer, settings = resolve_tokenizer(given)
    return tokenizer.train(captions, max_length, **settings)


def tokenizer_name(tokenizer: Tokenizer) -> str:
    """Give the name under which the class of a tokenizer is installed, or else its `package.module:Class`."""
    path = f"{type(tokenizer).__module__}:{type(tokenizer).__qualname__}"
    return next((name for name, value in sorted(_installed().items()) if value == path), path)


def write_tokenizer(tokenizer: Tokenizer) -> str:
    """Give the JSON from which `read_tokenizer` makes an equal tokenizer; checkpoints hold it."""
    plain = {"tokenizer": tokenizer_name(tokenizer), "max_length": tokenizer.max_length, **tokenizer.state()}
    return json.dumps(plain, ensure_ascii=False)


def read_tokenizer(text: str) -> Tokenizer:
    """Make the tokenizer that `write_tokenizer` wrote, or the JSON of older versions, which the library wrote.

    Raises:
        ValueError: It is no such text, or the class of the tokenizer is not installed here.
    """
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a tokenizer's JSON: {error}") from error
    if not isinstance(plain, dict):
        raise ValueError(f"not a tokenizer's JSON: {text[:60]!r}, expected an object")
    try:
        state = plain if "tokenizer" in plain else of_library(plain) | {"tokenizer": "words"}
        if isinstance(state["max_length"], bool) or not isinstance(state["max_length"], int):
            raise ValueError(f"the tokenizer's max_length is {state['max_length']!r}, expected a number of tokens")
        found, _ = resolve("tokenizer", state["tokenizer"], _installed(), base=Tokenizer, made_by="restored")
        return found.restored(state)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a tokenizer's JSON ({type(error).__name__}: {error}): {text[:60]!r}") from error


def _installed() -> dict[str, str]:
    """Name -> `package.module:Class`.

    Raises:
        ValueError: Two packages claim one name.
    """
    found: dict[str, str] = {}
    for entry in entries(GROUP):
        if found.setdefault(entry.name, entry.value) != entry.value:
            values = f"{found[entry.name]} and {entry.value}"
            raise ValueError(f"tokenizer {entry.name!r} is {values}: uninstall one, or use package.module:Class")
    return found
