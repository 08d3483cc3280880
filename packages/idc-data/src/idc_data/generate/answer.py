"""The JSON answer that a language model is asked for: its schema, and how a reply is read."""

import json
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from idc_data.wording import faults

ChangeType = Literal["add", "drop", "replace", "attribute", "none", "other"]
CHANGE_TYPES: tuple[ChangeType, ...] = ("add", "drop", "replace", "attribute", "none", "other")

_LONGEST = 200
"""Most characters of a sentence."""

_SYNONYMS: dict[str, ChangeType] = {
    **dict.fromkeys(("added", "adding", "addition", "insert", "inserted", "appear", "appeared", "new"), "add"),
    **dict.fromkeys(
        ("dropped", "remove", "removed", "removal", "delete", "deleted", "disappear", "disappeared", "gone", "missing"),
        "drop",
    ),
    **dict.fromkeys(("replaced", "replacement", "swap", "swapped", "substitute", "substituted", "exchange"), "replace"),
    **dict.fromkeys(
        ("attributes", "color", "colour", "size", "texture", "material", "modify", "modified"), "attribute"
    ),
    **dict.fromkeys(("no change", "nochange", "unchanged", "same", "nothing", "no difference"), "none"),
    **dict.fromkeys(("change", "changed", "move", "moved", "position", "multiple"), "other"),
}
"""What models write for a change type, in lower case -> the change type."""

_CONFIDENCES = {"very high": 0.95, "high": 0.9, "medium": 0.6, "moderate": 0.6, "low": 0.2, "very low": 0.1}


class Answer(BaseModel):
    """What a language model says about a pair of images."""

    model_config = ConfigDict(extra="ignore")

    caption: str = Field(min_length=3)
    change_type: ChangeType
    confidence: float = Field(ge=0, le=1)
    paraphrases: list[str] = []

    @field_validator("change_type", mode="before")
    @classmethod
    def _synonym(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        word = " ".join(given.lower().replace("_", " ").split())
        return _SYNONYMS.get(word, word)

    @field_validator("confidence", mode="before")
    @classmethod
    def _number(cls, given: Any) -> Any:
        """Read `high`, `90`, `90%` and `"0.9"`; values above 1 are percentages."""
        if isinstance(given, str):
            word = given.strip().lower()
            if word in _CONFIDENCES:
                return _CONFIDENCES[word]
            try:
                given = float(word.removesuffix("%")) / (100 if word.endswith("%") else 1)
            except ValueError:
                return given
        return given / 100 if isinstance(given, int | float) and 1 < given <= 100 else given


def read_answer(text: str, references: int = 1) -> Answer | str:
    """Read the first JSON object of a reply.

    Text around the object, further objects after it, trailing commas, and common synonyms of change types and
    confidences are accepted.

    Args:
        text: The reply.
        references: Sentences that were asked for: the caption and `references - 1` paraphrases.

    Returns:
        The answer; or, if the reply cannot be used, one sentence that says why.
    """
    start = text.find("{")
    if start < 0:
        return "The reply holds no JSON object."
    found = _object(text[start:])
    if found is None:
        return "The reply holds no complete JSON object."
    try:
        answer = Answer.model_validate(found)
    except ValidationError as error:
        return f"{faults(error)}."
    if len(answer.paraphrases) < references - 1:
        return f"paraphrases: expected {references - 1}, got {len(answer.paraphrases)}."
    return answer


def _object(text: str) -> Any:
    """The JSON object that a text begins with, or None."""
    for attempt in (text, re.sub(r",(\s*[}\]])", r"\1", text)):
        try:
            return json.JSONDecoder().raw_decode(attempt)[0]
        except (ValueError, RecursionError):
            continue
    return None


def answer_schema(references: int) -> dict[str, Any]:
    """Return the JSON schema of an answer, in the strict form that endpoints and constrained decoding take.

    Args:
        references: Sentences that are asked for; above 1 the schema has `references - 1` paraphrases.
    """
    sentence = {"type": "string", "minLength": 3, "maxLength": _LONGEST}
    properties: dict[str, Any] = {
        "caption": sentence,
        "change_type": {"type": "string", "enum": list(CHANGE_TYPES)},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    }
    if references > 1:
        properties["paraphrases"] = {
            "type": "array",
            "items": sentence,
            "minItems": references - 1,
            "maxItems": references - 1,
        }
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def answer_tokens(references: int) -> int:
    """Return how many tokens an answer may need: a sentence of 40 words has about 60, the rest of the object 40."""
    return 40 + 60 * references
