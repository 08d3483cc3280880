"""Stage 5, filter: which differences are good enough to learn from, and why the others are not."""

import re
from collections import Counter
from typing import Annotated, Any

import pyarrow as pa
from pydantic import Field, PositiveInt

from idc_data.generate.stage import Rows

FILTERED = pa.schema([("pair", pa.string()), ("references", pa.list_(pa.string())), ("reason", pa.string())])
"""One row per pair: the captions that are kept, and what spoke against it; no reason, and the pair is kept."""

_REFUSAL = re.compile(r"\b(as an ai|i am sorry|i'm sorry|i cannot|i can't|unable to)\b", re.I)
_ECHO = re.compile(r"\b(captions?|(first|second) image|json|change_type)\b", re.I)


class Filters:
    """Looks at the sentences and at how alike the images are.

    Args:
        min_words: Fewest words of a caption.
        max_words: Most words of a caption.
        min_confidence: Least confidence, where the writer gives one.
        same_above: A pair said to be without change has at least this similarity, where it is known.
        most_alike: Most pairs with the very same first caption; "nothing has changed" and the like may come any number
            of times.
        blocklist: Words that no caption may have.
    """

    def __init__(
        self,
        *,
        min_words: PositiveInt = 3,
        max_words: PositiveInt = 40,
        min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.3,
        same_above: Annotated[float, Field(ge=-1, le=1)] = 0.85,
        most_alike: PositiveInt = 20,
        blocklist: tuple[str, ...] = (),
    ) -> None:
        self._words, self._min_confidence = (min_words, max_words), min_confidence
        self._same_above, self._most_alike = same_above, most_alike
        self._blocked = re.compile(rf"\b({'|'.join(map(re.escape, blocklist))})\b", re.I) if blocklist else None

    def __call__(self, pairs: Rows, differences: Rows) -> tuple[Rows, dict[str, Any]]:
        """Gives a row of `FILTERED` for every pair, and the yield of every filter."""
        rows: Rows = []
        seen = Counter[str]()
        for pair, difference in zip(pairs, differences, strict=True):
            good = [text for text in difference["references"] if not self._text_problem(text)]
            reason = self._problem(pair, difference, good)
            if not reason and difference["change_type"] != "none":
                seen[good[0]] += 1
                if seen[good[0]] > self._most_alike:
                    reason = "caption of too many pairs"
            rows.append({"pair": pair["pair"], "references": good, "reason": reason})
        return rows, {"reasons": dict(Counter(row["reason"] or "kept" for row in rows).most_common())}

    def _problem(self, pair: dict[str, Any], difference: dict[str, Any], good: list[str]) -> str | None:
        if difference["rejected"] is not None:
            return "answer that cannot be read"
        if not good:
            return self._text_problem(difference["references"][0])
        if difference["confidence"] is not None and difference["confidence"] < self._min_confidence:
            return "low confidence"
        if difference["change_type"] == "none" and (pair["similarity"] or 1.0) < self._same_above:
            return "no change said of images that differ"
        return None

    def _text_problem(self, text: str) -> str | None:
        if not self._words[0] <= len(text.split()) <= self._words[1]:
            return "too short or too long"
        if _REFUSAL.search(text):
            return "refusal"
        if _ECHO.search(text):
            return "echo of the prompt"
        if self._blocked and self._blocked.search(text):
            return "blocked word"
        return None
