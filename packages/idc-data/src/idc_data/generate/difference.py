"""Stage 4, write the difference: from two images and their captions to a sentence that says what changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

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
"""Name -> class with the methods `__call__(pairs: Sequence[Captioned], asking) -> list[Difference]`, and
`to_ask(pairs) -> [(asker, questions)]`, for the estimate."""

DIFFERENCES = pa.schema(
    [
        ("pair", pa.string()),
        ("references", pa.list_(pa.string())),
        ("change_type", pa.string()),
        ("confidence", pa.float64()),
        ("rejected", pa.string()),
    ]
)
"""One row per pair: its captions; or none, and in `rejected` what a model said that could not be used."""


@dataclass(frozen=True)
class Captioned:
    """Two images: identity, file, and captions, the one to use first, of each."""

    before: str
    after: str
    files: tuple[str, str]
    before_captions: tuple[str, ...]
    after_captions: tuple[str, ...]

    def reversed(self) -> "Captioned":
        """The other way round."""
        return Captioned(
            self.after, self.before, (self.files[1], self.files[0]), self.after_captions, self.before_captions
        )


class Difference(BaseModel):
    """What changed between two images."""

    model_config = ConfigDict(frozen=True)

    references: tuple[str, ...] = ()
    change_type: str = ""
    confidence: float | None = None
    rejected: str | None = None


class Rules:
    """Aligns the noun phrases of the two captions: no model, the baseline and the offline default.

    What it knows is what the two captions say: a thing that one caption leaves out is taken for gone.

    Args:
        references: Wordings of each difference.
    """

    def __init__(self, *, references: Annotated[int, Field(ge=1, le=3)] = 3) -> None:
        self._references = references

    def to_ask(self, pairs: Sequence[Captioned]) -> ToAsk:
        """Nobody."""
        return []

    def __call__(self, pairs: Sequence[Captioned], asking: Asking) -> list[Difference]:
        """Writes one difference per pair."""
        written = [difference(pair.before_captions[0], pair.after_captions[0]) for pair in pairs]
        return [Difference(references=tuple(said[: self._references]), change_type=kind) for said, kind in written]
