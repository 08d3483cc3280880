"""Stage 5, filter: which differences are good enough to learn from, and why the others are not."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any

import pyarrow as pa
from pydantic import Field, PositiveInt

from idc_data.generate.ask import Asking, Question
from idc_data.generate.chat import CONTRADICTION
from idc_data.generate.difference import Captioned
from idc_data.generate.embed import Agreement
from idc_data.generate.endpoint import REFUSED
from idc_data.generate.stage import Rows

FILTERED = pa.schema([("pair", pa.string()), ("references", pa.list_(pa.string())), ("reason", pa.string())])
"""One row per pair: the captions that are kept, and what spoke against it; no reason, and the pair is kept."""

_REFUSAL = re.compile(r"\b(as an ai|i am sorry|i'm sorry|i cannot|i can't|unable to)\b", re.I)
_SURE = 0.8
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
        language: Captions that py3langid is sure are in another language are left out; null does not look.
        clip: A dual encoder of transformers, such as openai/clip-vit-base-patch32, by name or folder: a pair is
            left out if the caption of one of its images does not fit that image; null does not look.
        min_agreement: Least cosine similarity of caption and image.
        device: Of that model; `auto` takes a GPU if there is one.
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
        language: str | None = "en",
        clip: str | None = None,
        min_agreement: Annotated[float, Field(ge=-1, le=1)] = 0.2,
        device: str = "auto",
    ) -> None:
        self._words, self._min_confidence = (min_words, max_words), min_confidence
        self._same_above, self._most_alike = same_above, most_alike
        self._blocked = re.compile(rf"\b({'|'.join(map(re.escape, blocklist))})\b", re.I) if blocklist else None
        self._language, self._min_agreement = language, min_agreement
        self._agreement = Agreement(model=clip, device=device) if clip else None

    def __call__(
        self, pairs: Rows, captioned: Sequence[Captioned], differences: Rows, asking: Asking
    ) -> tuple[Rows, dict[str, Any]]:
        """Gives a row of `FILTERED` for every pair, and the yield of every filter."""
        rows: Rows = []
        seen = Counter[str]()
        agreements = self._agreements(captioned, asking)
        for pair, difference, agreement in zip(pairs, differences, agreements, strict=True):
            distinct = {_bare(text): text for text in reversed(difference["references"])}
            good = [text for text in reversed(distinct.values()) if not self._text_problem(text)]
            reason = self._problem(pair, difference, good)
            if not reason and agreement < self._min_agreement:
                reason = "caption that does not fit its image"
            if not reason and difference["change_type"] != "none":
                seen[_bare(good[0])] += 1
                if seen[_bare(good[0])] > self._most_alike:
                    reason = "caption of too many pairs"
            rows.append({"pair": pair["pair"], "references": good, "reason": reason})
        return rows, {"reasons": dict(Counter(row["reason"] or "kept" for row in rows).most_common())}

    def _problem(self, pair: dict[str, Any], difference: dict[str, Any], good: list[str]) -> str | None:
        if (rejected := difference["rejected"]) is not None:
            kinds = {CONTRADICTION: "contradiction of the two orders", REFUSED: "question that the endpoint refused"}
            return next((kind for start, kind in kinds.items() if rejected.startswith(start)), "unreadable answer")
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
        if self._language and _language(text) not in (self._language, ""):
            return "another language"
        return None

    def _agreements(self, captioned: Sequence[Captioned], asking: Asking) -> list[float]:
        """The lesser agreement of the two captions of every pair with their images."""
        if not self._agreement:
            return [1.0] * len(captioned)
        questions = [
            Question({"image": image, "text": captions[0]}, (file,))
            for pair in captioned
            for image, captions, file in (
                (pair.before, pair.before_captions, pair.files[0]),
                (pair.after, pair.after_captions, pair.files[1]),
            )
        ]
        said = [float(text) for text in asking(self._agreement, questions, "agreement")]
        return [min(said[at : at + 2]) for at in range(0, len(said), 2)]


def _bare(text: str) -> str:
    """The words alone, by which captions are the same."""
    return " ".join(re.findall(r"\w+", text.lower()))


def _language(text: str) -> str:
    """The language of a text, in two letters; none if that is not sure."""
    language, probability = _identifier().classify(text)
    return language if probability > _SURE else ""


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
