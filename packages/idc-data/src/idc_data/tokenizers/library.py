"""Base class of tokenizers that use the `tokenizers` library."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers

from idc_data.tokenizers.base import Tokenizer


class LibraryTokenizer(Tokenizer):
    """Splits captions into subwords with a tokenizer of the library, whose decoder joins them.

    Args:
        inner: The library's tokenizer. Special tokens that it adds are not used; `bos_id` and `eos_id` are.
        max_length: Maximum number of tokens of an encoded caption, including bos and eos.
        ids: The special tokens: bos, eos, and pad or None.
    """

    def __init__(self, inner: tokenizers.Tokenizer, max_length: int, ids: Mapping[str, int | None]) -> None:
        bos, eos = (_id(ids, name, inner) for name in ("bos", "eos"))
        pad = eos if ids.get("pad") is None else _id(ids, "pad", inner)
        inner.no_truncation()
        inner.no_padding()
        size = max(inner.get_vocab(with_added_tokens=True).values()) + 1
        super().__init__(max_length, size, bos_id=bos, eos_id=eos, pad_id=pad)
        self._inner = inner

    def tokens(self, caption: str) -> list[int]:
        """Return the ids of a caption, in which each run of white space counts as one space."""
        return self._inner.encode(" ".join(caption.split()), add_special_tokens=False).ids

    def text(self, ids: Sequence[int]) -> str:
        """Join the subwords."""
        return " ".join(self._inner.decode(list(ids), skip_special_tokens=True).split())

    def state(self) -> dict[str, Any]:
        """Return the library's JSON and the special tokens."""
        ids = {"bos": self.bos_id, "eos": self.eos_id, "pad": self.pad_id}
        return {"ids": ids, "inner": json.loads(self._inner.to_str())}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "LibraryTokenizer":
        """Restore the tokenizer from its state."""
        try:
            inner = tokenizers.Tokenizer.from_str(json.dumps(state["inner"]))
        except KeyError:
            raise
        except Exception as error:  # the library raises nothing narrower
            raise ValueError(f"the tokenizers library cannot read its JSON: {error}") from error
        return cls(inner, state["max_length"], dict(state["ids"]))


def _id(ids: Mapping[str, Any], name: str, inner: tokenizers.Tokenizer) -> int:
    value = ids.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or inner.id_to_token(value) is None:
        raise ValueError(f"the tokenizer's {name} token is {value!r}, expected the id of one of its tokens")
    return value
