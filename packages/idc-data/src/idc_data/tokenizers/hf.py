"""The tokenizer of a language model that others have trained."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from idc_data.tokenizers.library import LibraryTokenizer


class HuggingFace(LibraryTokenizer):
    """A tokenizer of the `transformers` library, which a pre-trained decoder needs; nothing is learnt from captions.

    Its JSON is kept in every checkpoint, so that neither the folder nor the hub is needed again.
    """

    @classmethod
    def train(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, captions: Iterable[str], max_length: int, *, model: str, revision: str | None = None
    ) -> "HuggingFace":
        """Read the tokenizer of a model.

        Args:
            captions: Not looked at.
            max_length: Most tokens of an encoded caption, beginning and end included.
            model: A folder with the tokenizer, or the model's id on the Hugging Face hub, as openai-community/gpt2.
            revision: Branch, tag or commit on the hub.

        Raises:
            ValueError: There is none, it is not of the fast kind, or it has no token that ends a text.
        """
        found = _fast(model, revision)
        eos = found.eos_token_id if found.eos_token_id is not None else found.sep_token_id
        if eos is None:
            raise ValueError(
                f"tokenizer 'hf': {model!r} has no token that ends a text (eos or sep), which captions need"
            )
        begins = (found.bos_token_id, found.cls_token_id, eos)
        bos = next(each for each in begins if each is not None)
        return cls(found.backend_tokenizer, max_length, {"bos": bos, "eos": eos, "pad": found.pad_token_id})

    def unknown(self, caption: str) -> list[str]:
        """Give the words for which the tokenizer has its unknown token; byte-level ones have none."""
        unk = self._inner.model.unk_token if hasattr(self._inner.model, "unk_token") else None
        if unk is None:
            return []
        encoded = self._inner.encode(caption, add_special_tokens=False)
        places = zip(encoded.tokens, encoded.offsets, strict=True)
        return [caption[start:end] for token, (start, end) in places if token == unk]


def _fast(model: str, revision: str | None) -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ValueError(
            "tokenizer 'hf' needs the transformers library: uv pip install './packages/idc-data[hf]'"
        ) from error
    try:
        found = AutoTokenizer.from_pretrained(model, revision=revision)
    except Exception as error:  # the library raises what it likes, many lines of it
        what = (
            "the folder holds no tokenizer" if Path(model).is_dir() else "it is no folder here, and the hub gives none"
        )
        cause = " ".join(str(error).split())[:200]
        raise ValueError(
            f"tokenizer 'hf': model is {model!r}, but {what} ({cause}); expected a folder with tokenizer.json, or the "
            "id of a model on the Hugging Face hub"
        ) from error
    if not found.is_fast:
        raise ValueError(f"tokenizer 'hf': {model!r} has a slow tokenizer only, expected one with a tokenizer.json")
    return found
