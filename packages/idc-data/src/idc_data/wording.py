"""Words for mistakes in what a person wrote: what is wrong with a value, and what a name could have meant."""

import difflib
from collections.abc import Iterable

from pydantic import ValidationError


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "", *, cutoff: float = 0.6) -> str:
    """Word the nearest known name as a question, or say something else if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean {near[0]!r}?" if near else otherwise


def suggestion(name: str, known: Iterable[str]) -> str:
    """Word what could have been meant: the nearest known name, and all of them unless they are too many to read."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    listed = known if len(known) <= 30 else nearest
    return (f"; did you mean {nearest[0]!r}?" if nearest else ";") + f" Known: {', '.join(listed) or 'none like it'}"


def first_fault(error: ValidationError) -> str:
    """Say in one line what pydantic found first: where, and what was expected."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] in ("tuple_type", "list_type"):
        said = f"it is {first['input']!r:.80}, expected a list"
    else:
        said = first["msg"].removeprefix("Value error, ")
    return f"{where}{': ' if where else ''}{said}"
