"""Stage 4, difference: from two images and their captions to a sentence that says what changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from idc_data.generate.ask import Asking
from idc_data.generate.caption import ToAsk
from idc_data.generate.rules import difference

WRITERS = {
    "rules": "idc_data.generate.difference:Rules",
    "llm": "idc_data.generate.chat:Llm",
    "openai": "idc_data.generate.chat:OpenAi",
    "vlm": "idc_data.generate.chat:Vlm",
}
"""Name -> class that is a `Writer`."""

DIFFERENCES = pa.schema(
    [
        ("pair", pa.string()),
        ("references", pa.list_(pa.string())),
        ("change_type", pa.string()),
        ("confidence", pa.float64()),
        ("rejected", pa.string()),
        ("from_captions", pa.bool_()),
    ]
)
"""One row per pair, with the fields of `Difference`."""


@dataclass(frozen=True)
class Captioned:
    """A pair of images with their captions.

    Attributes:
        before: Identity of the image before.
        after: Identity of the image after.
        files: Paths of both images.
        before_captions: One or more captions of the image before, the best one first.
        after_captions: One or more captions of the image after, the best one first.
    """

    before: str
    after: str
    files: tuple[str, str]
    before_captions: tuple[str, ...]
    after_captions: tuple[str, ...]

    def reversed(self) -> "Captioned":
        """Return the pair with before and after exchanged."""
        return Captioned(
            self.after, self.before, (self.files[1], self.files[0]), self.after_captions, self.before_captions
        )


class Difference(BaseModel):
    """What changed between two images.

    Attributes:
        references: Sentences that say so; none if the pair is rejected.
        change_type: add, drop, replace, attribute, none (nothing changed) or other.
        confidence: From 0 to 1, if the writer has one.
        rejected: What a model said that could not be used.
        from_captions: The writer knew the captions alone. Whoever has seen the images may know better than a caption,
            and the filters do not hold it against the captions.
    """

    model_config = ConfigDict(frozen=True)

    references: tuple[str, ...] = ()
    change_type: str = ""
    confidence: float | None = None
    rejected: str | None = None
    from_captions: bool = True


class Writer(Protocol):
    """What the stage `difference` needs of a class; its settings are its keyword-only parameters.

    A writer that asks models also has `askers`, which are checked before the first stage asks anything, and
    `prompt_text`, which the data card shows.
    """

    def to_ask(self, pairs: Sequence[Captioned]) -> ToAsk:
        """Return the questions, for the estimate of a dry run; a writer without a model returns an empty list."""
        ...

    def __call__(self, pairs: Sequence[Captioned], asking: Asking) -> list[Difference]:
        """Write one difference per pair, in their order. `asking(asker, questions, what)` asks and remembers."""
        ...


class NearlyAllRejected(ValueError):
    """Hardly any answer of a model can be used.

    Args:
        pairs: The pairs that it was asked about.
        written: The differences, most of them rejected.
    """

    def __init__(self, pairs: Sequence[Captioned], written: Sequence[Difference]) -> None:
        both = zip(pairs, written, strict=True)
        self.rejected = [(pair, each.rejected) for pair, each in both if each.rejected is not None]
        samples = "".join(f"\n  {text!r:.200}" for _, text in self.rejected[:3])
        super().__init__(
            f"the answers about {len(self.rejected)} of the first {len(pairs)} pairs cannot be used; try json_schema: "
            f"true, another prompt or a larger model, or most_rejected: 1 to go on all the same. Samples:{samples}"
        )


class Rules:
    """Aligns the noun phrases of the two captions: no model, the baseline and the offline default.

    It knows no more than the captions: a thing that one caption leaves out is taken to be gone.

    Args:
        references: Sentences per pair.
    """

    def __init__(self, *, references: Annotated[int, Field(ge=1, le=3)] = 3) -> None:
        self._references = references

    def to_ask(self, pairs: Sequence[Captioned]) -> ToAsk:
        """Return an empty list: no model is asked."""
        return []

    def __call__(self, pairs: Sequence[Captioned], asking: Asking) -> list[Difference]:
        """Write one difference per pair."""
        written = [difference(pair.before_captions[0], pair.after_captions[0]) for pair in pairs]
        return [
            Difference(references=tuple(texts[: self._references]), change_type=change_type)
            for texts, change_type in written
        ]
