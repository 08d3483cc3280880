"""Stage 5, filter: which differences are kept, and why the others are not."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Literal, get_args

import pyarrow as pa
from pydantic import Field, PositiveInt

from idc_data.generate.ask import Asking, Question
from idc_data.generate.chat_writer import CONTRADICTION
from idc_data.generate.difference import Captioned
from idc_data.generate.embed import Agreement
from idc_data.generate.endpoint import REFUSED
from idc_data.generate.falsehood import CHECKS, REASONS, Statement
from idc_data.generate.stage import Rows

FILTERED = pa.schema([("pair", pa.string()), ("references", pa.list_(pa.string())), ("reason", pa.string())])
"""One row per pair: the sentences that are kept, and the reason for which it is rejected; none if it is kept."""

Check = Literal["invented", "repeats", "reversed", "shared", "mistyped"]

_REFUSAL = re.compile(r"\b(as an ai|i am sorry|i'm sorry|i cannot|i can't|unable to)\b", re.I)
_SURE = 0.8
_ECHO = re.compile(r"\b(captions?|(first|second) image|json|change_type)\b", re.I)


class Filters:
    """Looks at the sentences, at the captions they were written from, and at the similarity of the images.

    Args:
        checks: Which checks for false sentences are used. `invented`: a word is in neither caption. `repeats`: the
            sentence only repeats one caption. `reversed`: before and after are exchanged. `shared`: what both captions
            have is said to have changed. `mistyped`: the change type contradicts the verb. All but the last compare
            with the captions, and pass over writers that saw the images.
        min_words: Fewest words of a sentence.
        max_words: Most words of a sentence.
        min_confidence: Least confidence, where the writer gives one.
        same_above: A pair that is said to be unchanged has at least this similarity, where it is known.
        most_alike: Most pairs with the same first sentence; sentences such as "nothing has changed" are exempt.
        blocklist: Words that no sentence may have.
        language: Sentences that py3langid is sure are in another language are rejected; null does not look.
        clip: A dual encoder of transformers, such as openai/clip-vit-base-patch32, by name or folder: a pair is
            rejected if the caption of one of its images does not fit that image; null does not look.
        min_agreement: Least cosine similarity of caption and image.
        device: Of that model; `auto` is a GPU if there is one, else the CPU.
    """

    def __init__(
        self,
        *,
        checks: tuple[Check, ...] = get_args(Check),
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
        self._checks = checks
        self._words, self._min_confidence = (min_words, max_words), min_confidence
        self._same_above, self._most_alike = same_above, most_alike
        self._blocked = re.compile(rf"\b({'|'.join(map(re.escape, blocklist))})\b", re.I) if blocklist else None
        self._language, self._min_agreement = language, min_agreement
        self._agreement = Agreement(model=clip, device=device) if clip else None
        self.askers = (self._agreement,) if self._agreement else ()

    def __call__(
        self, pairs: Rows, captioned: Sequence[Captioned], differences: Rows, asking: Asking
    ) -> tuple[Rows, dict[str, Any]]:
        """Filter the differences.

        Returns:
            A row of `FILTERED` for every pair; and notes: `reasons`, the number of pairs kept and rejected for each
            reason, and `objections`, the number of sentences that each check objects to, whatever the others say.
        """
        rows: Rows = []
        seen = Counter[str]()
        objections = Counter[str]()
        agreements = self._agreements(captioned, asking)
        for pair, texts, difference, agreement in zip(pairs, captioned, differences, agreements, strict=True):
            distinct = {_bare(text): text for text in reversed(difference["references"])}
            problems = {text: self._text_problem(text) for text in reversed(distinct.values())}
            for text in problems:
                objected = self._objected(text, texts, difference)
                objections.update(objected)
                problems[text] = problems[text] or (REASONS[objected[0]] if objected else None)
            good = [text for text, problem in problems.items() if not problem]
            reason = self._problem(pair, difference, good, problems)
            if not reason and agreement < self._min_agreement:
                reason = "caption that does not fit its image"
            if not reason and difference["change_type"] != "none":
                seen[_bare(good[0])] += 1
                if seen[_bare(good[0])] > self._most_alike:
                    reason = "sentence of too many pairs"
            rows.append({"pair": pair["pair"], "references": good, "reason": reason})
        reasons = dict(Counter(row["reason"] or "kept" for row in rows).most_common())
        return rows, {"reasons": reasons, "objections": {check: objections[check] for check in self._checks}}

    def _objected(self, text: str, texts: Captioned | None, difference: dict[str, Any]) -> list[str]:
        """Names of the checks that a sentence fails."""
        known = texts is not None and difference.get("from_captions", True)
        captions = (texts.before_captions, texts.after_captions) if texts and known else ((), ())
        statement = Statement(text, difference["change_type"], *captions)
        return [check for check in self._checks if (known or check == "mistyped") and CHECKS[check](statement)]

    def _problem(
        self, pair: dict[str, Any], difference: dict[str, Any], good: list[str], problems: dict[str, str | None]
    ) -> str | None:
        if (rejected := difference["rejected"]) is not None:
            kinds = {CONTRADICTION: "contradiction of the two orders", REFUSED: "question that the endpoint refused"}
            return next((kind for start, kind in kinds.items() if rejected.startswith(start)), "unreadable answer")
        if not good:
            return next(iter(problems.values()), "no sentence")
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
        """The smaller agreement of the two captions of every pair with their images."""
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
    """The words alone, by which sentences are compared."""
    return " ".join(re.findall(r"\w+", text.lower()))


def _language(text: str) -> str:
    """The language of a text, as two letters; empty if that is not certain."""
    language, probability = _identifier().classify(text)
    return language if probability > _SURE else ""


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
