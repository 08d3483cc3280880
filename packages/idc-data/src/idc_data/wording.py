"""Error messages about user input: what is wrong with a value, and what a misspelt name could mean."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_MOST = 5  # maximum number of faults in one line

_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "string_type": "text",
    "too_short": "at least {min_length}",
    "tuple_type": "a list",
}
"""Pydantic's type of error -> what was expected; other types keep pydantic's message."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: 1 pair, 2,000 pairs."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "", *, cutoff: float = 0.6) -> str:
    """Return the nearest known name as a question, or `otherwise` if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean {near[0]!r}?" if near else otherwise


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return a suggestion for an unknown name: the nearest known one, and all of them if there are at most 30."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    listed = known if len(known) <= 30 else nearest
    return (f"; did you mean {nearest[0]!r}?" if nearest else ";") + f" Known: {', '.join(listed) or 'none like it'}"


def faults(error: ValidationError, schema: type[BaseModel] | None = None, *, noun: str = "key") -> str:
    """Describe pydantic's errors in one line: where, what was given, what was expected, and suggestions.

    Args:
        error: Pydantic's exception.
        schema: The validated model, to suggest its names for unknown ones.
        noun: What its names are called.
    """
    found = error.errors(include_url=False)
    # If the only item of a list is invalid, pydantic also reports the list as too short.
    found = [each for each in found if each["type"] != "too_short" or not each["input"] or each is found[0]]
    told = list(dict.fromkeys(_fault(each, schema, noun) for each in found))
    return "; ".join(told[:_MOST]) + (f"; and {len(told) - _MOST} more" if len(told) > _MOST else "")


def _fault(problem: Mapping[str, Any], schema: type[BaseModel] | None, noun: str) -> str:
    path = [str(part) for part in problem["loc"] if part != "[key]"]
    where, message = ".".join(path), problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        section, inside = _section(schema, path[:-1]), ".".join(path[:-1])
        known = [field.alias or name for name, field in section.model_fields.items()] if section else []
        meant = suggestion(path[-1], known) if known else "; leave it out"
        return f"unknown {noun} {path[-1]!r}{f' in {inside}' if inside else ''}{meant}"
    if problem["type"] == "missing":
        return f"{where} is missing; add it"
    if problem["type"] == "value_error" or not where:
        return f"{where}: {message}" if where else message
    if expected := _EXPECTED.get(problem["type"]):
        message = f"expected {expected.format(**problem.get('ctx', {}))}"
    return f"{where} is {problem['input']!r:.80}: {message.replace('Input should be', 'expected')}"


def _section(schema: Any, path: Sequence[str]) -> type[BaseModel] | None:
    """Return the model at a path of keys, through sections that may be optional or annotated."""
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        fields = {key: field for name, field in schema.model_fields.items() for key in (name, field.alias)}
        if not path:
            return schema
        return _section(fields[path[0]].annotation, path[1:]) if path[0] in fields else None
    return next((found for part in get_args(schema) if (found := _section(part, path))), None)
