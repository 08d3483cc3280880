"""Tokenizers, chosen by name in a spec: one class for training and serving.

Importing this package needs neither torch nor the `tokenizers` library; a tokenizer imports what it needs.
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
"""Group of the entry points of tokenizers."""


def resolve_tokenizer(given: str | Mapping[str, Any]) -> tuple[type[Tokenizer], dict[str, Any]]:
    """Return the class of a tokenizer and its validated settings, with defaults filled in.

    Args:
        given: An installed name (`words`, `bpe`, `hf`), `package.module:Class`, or `{"name": either, setting: value}`.

    Raises:
        ValueError: The name or a setting is unknown or of the wrong type; the message suggests the nearest known one.
    """
    return resolve("tokenizer", given, _installed(), base=Tokenizer, made_by="train")


def make_tokenizer(given: str | Mapping[str, Any], captions: Iterable[str], max_length: int) -> Tokenizer:
    """Train the tokenizer that a spec names.

    Args:
        given: As in `resolve_tokenizer`.
        captions: The captions of the training split only.
        max_length: Maximum number of tokens of an encoded caption, including bos and eos.

    Raises:
        ValueError: As in `resolve_tokenizer`, or nothing can be learned from these captions.
    """
    tokenizer, settings = resolve_tokenizer(given)
    return tokenizer.train(captions, max_length, **settings)


def tokenizer_name(tokenizer: Tokenizer) -> str:
    """Return the installed name of a tokenizer's class, or else its `package.module:Class`."""
    path = f"{type(tokenizer).__module__}:{type(tokenizer).__qualname__}"
    return next((name for name, value in sorted(_installed().items()) if value == path), path)


def write_tokenizer(tokenizer: Tokenizer) -> str:
    """Return the JSON of a tokenizer for checkpoints, which `read_tokenizer` restores."""
    plain = {"tokenizer": tokenizer_name(tokenizer), "max_length": tokenizer.max_length, **tokenizer.state()}
    return json.dumps(plain, ensure_ascii=False)


def read_tokenizer(text: str) -> Tokenizer:
    """Restore a tokenizer from the JSON of `write_tokenizer`, or from that of the library in files of older versions.

    Raises:
        ValueError: It is not such a text, or the class of the tokenizer is not installed.
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
    """Return the installed tokenizers: name -> `package.module:Class`.

    Raises:
        ValueError: Two packages register the same name.
    """
    found: dict[str, str] = {}
    for entry in entries(GROUP):
        if found.setdefault(entry.name, entry.value) != entry.value:
            values = f"{found[entry.name]} and {entry.value}"
            raise ValueError(
                f"tokenizer {entry.name!r} is registered twice, as {values}: uninstall one, or use package.module:Class"
            )
    return found
