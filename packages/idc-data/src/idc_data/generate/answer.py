"""The answer that a language model is asked for: its form, and what is wrong with one."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from idc_data.wording import faults


class Answer(BaseModel):
    """The JSON that a language model is asked for."""

    model_config = ConfigDict(extra="ignore")

    caption: str = Field(min_length=3)
    change_type: Literal["add", "drop", "replace", "attribute", "none", "other"]
    confidence: float = Field(ge=0, le=1)
    paraphrases: list[str] = []


def read_answer(text: str, references: int = 1) -> Answer | str:
    """Read the JSON object in an answer; gives what is wrong with it as one sentence if it is no good."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return "That was no JSON object."
    try:
        answer = Answer.model_validate_json(text[start : end + 1])
    except ValidationError as error:
        return f"{faults(error)}."
    if len(answer.paraphrases) < references - 1:
        return f"paraphrases: expected {references - 1}, got {len(answer.paraphrases)}."
    return answer


def answer_schema(references: int) -> dict[str, Any]:
    """Give the JSON schema of an answer, in the strict form that endpoints take."""
    schema = Answer.model_json_schema()
    if references == 1:
        del schema["properties"]["paraphrases"]
    for described in schema["properties"].values():
        described.pop("default", None)
    return {**schema, "required": list(schema["properties"]), "additionalProperties": False}
