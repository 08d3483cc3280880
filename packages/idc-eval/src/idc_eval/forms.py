"""Captions and references as others write them: COCO results and annotations, lists, lines with names of their own."""

import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from idc_eval.whole import read_text
from idc_eval.wording import did_you_mean

MODEL = "model_"
"""What stands before an answer of `idc-caption` whose name the line already had."""

_ANSWERS = ("log_prob", "familiar", "change_map")
_SPOKEN_OF = {
    *("image_id", "caption", "captions", "reference", "before_file_name", "after_file_name", "provenance", "split"),
    *("alternatives", "note", "error"),
}
"""Fields of other forms that are used, or known not to matter."""


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Read a file of JSON lines, or one list or table in JSON.

    Returns:
        Each row with where it stands. Rows of a table {id: caption} are given `id` and `caption`.

    Raises:
        ValueError: It is no UTF-8 text, or a line is no JSON; names the file and the line.
        OSError: The file cannot be read.
    """
    text = read_text(path)
    whole = _whole(text) if text.lstrip()[:1] == "[" or path.suffix.lower() == ".json" else None
    if isinstance(whole, list):
        yield from ((f"{path}, entry {number}", row) for number, row in enumerate(whole, 1))
    elif isinstance(whole, dict) and not whole.keys() & {"hypothesis", "caption", "references"}:
        if isinstance(whole.get("annotations"), list):
            raise ValueError(
                f"{path}: these are COCO annotations, which hold references and no answers of a model; give the file "
                "of its answers, and this one with --annotations"
            )
        for name, value in whole.items():
            yield f"{path}, {name!r}", {"id": name, "caption": _only(value, f"{path}, {name!r}")}
    else:
        # Only "\n" ends a line here: JSON may hold U+2028 and its like inside a string.
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield f"{path}:{number}", _parsed(line, f"{path}:{number}")


def read_annotations(path: Path) -> dict[str, dict[str, Any]]:
    """Read the references of a set of pairs: COCO annotations, {id: [captions]}, or lines such as those of a data set.

    Returns:
        For each id its `references`, and `changed`, `change_type` and `truth` where the file has them.

    Raises:
        ValueError: It is none of these; names the file and the place.
        OSError: The file cannot be read.
    """
    text = read_text(path)
    whole = _whole(text)
    if isinstance(whole, dict) and isinstance(whole.get("annotations"), list):
        rows = [(f"{path}, annotation {number}", row) for number, row in enumerate(whole["annotations"], 1)]
    elif isinstance(whole, dict) and not whole.keys() & {"references", "captions", "reference"}:
        rows = [(f"{path}, {name!r}", {"id": name, "references": value}) for name, value in whole.items()]
    else:
        rows = list(read_rows(path))
    found: dict[str, dict[str, Any]] = {}
    for where, row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"{where}: {str(row)[:60]!r} is no object; expected {{image_id, caption}} or the like")
        name = identity(row.get("id") if "image_id" not in row else row["image_id"])
        said = [_text(each) for each in _listed(_first(row, "references", "captions", "reference", "caption"))]
        if not isinstance(name, str) or not said or not all(isinstance(each, str) for each in said):
            raise ValueError(f"{where}: {str(row)[:60]!r}: expected the id of a pair (image_id or id) and its captions")
        entry = found.setdefault(name, {"references": []})
        entry["references"] += said
        entry.update({key: row[key] for key in ("changed", "change_type", "truth") if key in row})
    if not found:
        raise ValueError(f"{path}: there are no references in it; expected COCO annotations or {{id: [captions]}}")
    return found


def in_our_words(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A row with the fields of `Prediction`, whatever form it has; fields that are not known stay as they are.

    What `idc-caption` writes is read too: the line's own fields, and the model's answer.

    Args:
        row: As read.
        number: Of the row; its id where nothing else tells it from others.
    """
    fields = {key: value for key, value in row.items() if key not in _SPOKEN_OF and not key.startswith(MODEL)}
    if "references" not in row or isinstance(row["references"], str):
        given = _first(row, "references", "captions", "reference")
        if given is None and MODEL + "caption" in row:
            given = row.get("caption")
        if given is not None:
            fields["references"] = _listed(given)
    if "id" in row or "image_id" in row:
        fields["id"] = identity(_first(row, "id", "image_id"))
    if "hypothesis" in row or not row.keys() & {"caption", MODEL + "caption"}:
        return fields
    fields["hypothesis"] = _first(row, MODEL + "caption", "caption")
    fields |= {key: row[MODEL + key] for key in _ANSWERS if MODEL + key in row}
    sides = [_first(row, side, f"{side}_file_name") for side in ("before", "after")]
    fields.setdefault("id", " ".join(identity(side) for side in sides if isinstance(side, str)) or str(number))
    for side, name in zip(("before", "after"), sides, strict=True):
        fields[side] = name if isinstance(name, str) and lies_below(name) else None  # an image elsewhere is not shown
    # A probability is no label, and the regions of a data set are in pixels.
    kinds = {"changed": bool, "change_type": str, "truth": dict, "swapped": str, "difficulty": dict}
    for name in (*kinds, "regions"):
        if not isinstance(fields.get(name), kinds.get(name, ())):
            fields.pop(name, None)
    return fields


def failure(row: Mapping[str, Any]) -> str:
    """Why `idc-caption` has no caption for a pair; nothing where there is one."""
    if row.keys() & {"hypothesis", MODEL + "caption"}:
        return ""
    return str(_first(row, MODEL + "error", "error") or "")


def lies_below(name: str) -> bool:
    """Whether a name is that of a file beside or below another, with / between folders."""
    path = PurePosixPath(name)
    return bool(name) and not (path.is_absolute() or ".." in path.parts or any(sign in name for sign in "\\:\0"))


def identity(value: Any) -> Any:
    """An id: numbers become text, and text gets one Unicode form, so that the same name is the same."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return unicodedata.normalize("NFC", value) if isinstance(value, str) else value


def with_references(
    rows: list[tuple[str, dict[str, Any]]], annotations: Path, path: Path, tell: Callable[[str], None]
) -> list[tuple[str, dict[str, Any]]]:
    """Give each row the references and labels that another file has of its pair.

    Raises:
        ValueError: The two files are not about the same pairs, or rows have references of their own.
    """
    known = read_annotations(annotations)
    if own := [where for where, row in rows if "references" in row]:
        raise ValueError(f"{own[0]} has references of its own, and --annotations gives others; leave one of them out")
    strange = [name for _, row in rows if not isinstance(name := row.get("id"), str) or name not in known]
    if strange:
        raise ValueError(
            f"{len(strange):,} of {len(rows):,} pairs of {path} are not in {annotations}, such as {strange[0]!r} (it "
            f"has {next(iter(known))!r}); give results and annotations of the same pairs"
        )
    if rest := known.keys() - {row["id"] for _, row in rows}:
        tell(
            f"{annotations} has {len(rest):,} more pairs, such as {min(rest)!r}, of which {path} says nothing: they "
            "are not scored"
        )
    return [(where, row | known[row["id"]]) for where, row in rows]


def passed_over(names: Iterable[str], known: Iterable[str]) -> str:
    """Fields that are passed over, in words, with what may have been meant."""
    known = list(known)
    return ", ".join(repr(name) + (f" ({near})" if (near := did_you_mean(name, known)) else "") for name in names)


def _whole(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None  # lines, or what is told line by line


def _parsed(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where}: not JSON ({error.msg} at column {error.colno}): {line[:60]!r}; expected one object"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: {line[:60]!r} has too many brackets or digits; expected one object") from error


def _first(row: Mapping[str, Any], *names: str) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _text(value: Any) -> Any:
    """A caption, which pycocoevalcap puts into an object."""
    return value.get("caption") if isinstance(value, dict) else value


def _only(value: Any, where: str) -> Any:
    captions = _listed(value)
    if len(captions) != 1:
        raise ValueError(
            f"{where}: {len(captions)} captions, expected the one that the model gave; references go with --annotations"
        )
    return _text(captions[0])
