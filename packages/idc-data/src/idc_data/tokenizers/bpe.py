"""Subword tokens learned from the captions."""

from collections.abc import Iterable
from typing import Annotated

import tokenizers
from pydantic import Field
from tokenizers import decoders, models, pre_tokenizers, trainers

from idc_data.tokenizers.library import LibraryTokenizer
from idc_data.tokenizers.words import normal

_SPECIALS = {"pad": "<pad>", "bos": "<bos>", "eos": "<eos>"}


class Bpe(LibraryTokenizer):
    """Byte-level byte-pair encoding: frequent words are one token, and no word is unknown.

    Captions are converted to lower case, as in `words`.

    Source: Sennrich, Haddow and Birch, Neural Machine Translation of Rare Words with Subword Units, ACL 2016; over
    bytes as in Radford et al., Language Models are Unsupervised Multitask Learners, 2019.
    """

    @classmethod
    def train(
        cls, captions: Iterable[str], max_length: int, *, size: Annotated[int, Field(ge=300, le=1_000_000)] = 8000
    ) -> "Bpe":
        """Learn the subwords from captions.

        Args:
            captions: The captions of the training split only.
            max_length: Maximum number of tokens of an encoded caption, including bos and eos.
            size: Maximum size of the vocabulary, of which 256 tokens are bytes; it is smaller if no more pairs of
                tokens occur twice.

        Raises:
            ValueError: There are no captions.
        """
        texts = [text for caption in captions if (text := " ".join(normal(caption).split()))]
        if not texts:
            raise ValueError("there are no captions to learn the tokenizer from")
        inner = tokenizers.Tokenizer(models.BPE())
        inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=2,
            special_tokens=list(_SPECIALS.values()),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        inner.train_from_iterator(texts, trainer)
        return cls(inner, max_length, {name: inner.token_to_id(token) for name, token in _SPECIALS.items()})

    def tokens(self, caption: str) -> list[int]:
        """Return the ids of a caption in lower case."""
        return super().tokens(normal(caption))
