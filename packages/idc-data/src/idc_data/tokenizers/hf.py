"""The tokenizer of a pre-trained language model."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from idc_data.hub import without_retries_logged
from idc_data.tokenizers.library import LibraryTokenizer


class HuggingFace(LibraryTokenizer):
    """A tokenizer of the `transformers` library, for pre-trained decoders; nothing is learned from captions.

    Its JSON is stored in every checkpoint, so neither the folder nor the hub is needed again.
    """

    @classmethod
    def train(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, captions: Iterable[str], max_length: int, *, model: str, revision: str | None = None
    ) -> "HuggingFace":
        """Read the tokenizer of a model.

        Args:
            captions: Ignored.
            max_length: Maximum number of tokens of an encoded caption, including bos and eos.
            model: A folder with the tokenizer, or the id of a model on the Hugging Face hub, such as
                openai-community/gpt2.
            revision: Branch, tag or commit on the hub.

        Raises:
            ValueError: There is no such tokenizer, it is not a fast one, or it has no end token.
        """
        found = _fast(model, revision)
        eos = found.eos_token_id if found.eos_token_id is not None else found.sep_token_id
        if eos is None:
            raise ValueError(
                f"tokenizer 'hf': {model!r} has no end token (eos or sep), which captions need; choose another model"
            )
        begins = (found.bos_token_id, found.cls_token_id, eos)
        bos = next(each for each in begins if each is not None)
        return cls(found.backend_tokenizer, max_length, {"bos": bos, "eos": eos, "pad": found.pad_token_id})

    def unknown(self, caption: str) -> list[str]:
        """Return the words that become the unknown token; byte-level tokenizers have none."""
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
        with without_retries_logged():
            found = AutoTokenizer.from_pretrained(model, revision=revision)
    except Exception as error:  # the library raises many kinds, with long messages
        what = (
            "this folder has no tokenizer"
            if Path(model).is_dir()
            else "this is not a folder, and not on the hub either"
        )
        cause = " ".join(str(error).split())[:200]
        raise ValueError(
            f"tokenizer 'hf': model is {model!r}, but {what} ({cause}); expected a folder with tokenizer.json, or the "
            "id of a model on the Hugging Face hub"
        ) from error
    if not found.is_fast:
        raise ValueError(f"tokenizer 'hf': {model!r} has only a slow tokenizer, expected one with a tokenizer.json")
    return found
