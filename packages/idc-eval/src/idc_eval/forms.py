"""Read captions and references in other tools' formats: COCO results and annotations, lists, lines with other names."""

import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from idc_eval.whole import read_text
from idc_eval.wording import did_you_mean

MODEL = "model_"
"""Prefix of a field of `idc-caption`'s answer whose name the input line already used."""

_ANSWERS = ("log_prob", "familiar", "change_map")
_SPOKEN_OF = {
    *("image_id", "caption", "captions", "reference", "before_file_name", "after_file_name", "provenance", "split"),
    *("alternatives", "note", "error"),
}
"""Fields of other formats that are read or can safely be ignored."""


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Read a file of JSON lines, or one list or table in JSON.

    Returns:
        Each row with its place in the file. Rows of a table {id: caption} get `id` and `caption`.

    Raises:
        ValueError: The file is not UTF-8, or a line is not JSON; names the file and the line.
        OSError: The file cannot be read.
    """
    text = read_text(path)
    whole = _whole(text) if text.lstrip()[:1] == "[" or path.suffix.lower() == ".json" else None
    if isinstance(whole, list):
        yield from ((f"{path}, entry {number}", row) for number, row in enumerate(whole, 1))
    elif isinstance(whole, dict) and not whole.keys() & {"hypothesis", "caption", "references"}:
        if isinstance(whole.get("annotations"), list):
            raise ValueError(
                f"{path}: these are COCO annotations, which hold references but no captions of a model; give the file "
                "of captions, and this one with --annotations"
            )
        for name, value in whole.items():
            yield f"{path}, {name!r}", {"id": name, "caption": _only(value, f"{path}, {name!r}")}
    else:
        # Only "\n" ends a line here: JSON may hold U+2028 and its like inside a string.
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield f"{path}:{number}", _parsed(line, f"{path}:{number}")


def read_annotations(path: Path) -> dict[str, dict[str, Any]]:
    """Read references: COCO annotations, {id: [captions]}, or JSON lines such as a data set's metadata.

    Returns:
        For each id its `references`, and `changed`, `change_type` and `truth` if the file has them.

    Raises:
        ValueError: The file has none of these formats; names the file and the place.
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
    entries: dict[str, dict[str, Any]] = {}
    for where, row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"{where}: {str(row)[:60]!r} is not an object; expected {{image_id, caption}} or similar")
        name = identity(row.get("id") if "image_id" not in row else row["image_id"])
        captions = [_text(each) for each in _listed(_first(row, "references", "captions", "reference", "caption"))]
        if not isinstance(name, str) or not captions or not all(isinstance(each, str) for each in captions):
            raise ValueError(f"{where}: {str(row)[:60]!r}: expected the id of a pair (image_id or id) and its captions")
        entry = entries.setdefault(name, {"references": []})
        entry["references"] += captions
        entry.update({key: row[key] for key in ("changed", "change_type", "truth") if key in row})
    if not entries:
        raise ValueError(f"{path}: no references in this file; expected COCO annotations or {{id: [captions]}}")
    return entries


def in_our_words(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Rename a row's fields to those of `Prediction`, whatever its format; unknown fields stay as they are.

    Also reads what `idc-caption` writes: the input line's fields and the model's answer.

    Args:
        row: The row as read.
        number: Number of the row; its id if it has no other.
    """
    fields = {key: value for key, value in row.items() if key not in _SPOKEN_OF and not key.startswith(MODEL)}
    if "references" not in row or isinstance(row["references"], str):
        references = _first(row, "references", "captions", "reference")
        if references is None and MODEL + "caption" in row:
            references = row.get("caption")
        if references is not None:
            fields["references"] = _listed(references)
    if "id" in row or "image_id" in row:
        fields["id"] = identity(_first(row, "id", "image_id"))
    if "hypothesis" in row or not row.keys() & {"caption", MODEL + "caption"}:
        return fields
    fields["hypothesis"] = _first(row, MODEL + "caption", "caption")
    fields |= {key: row[MODEL + key] for key in _ANSWERS if MODEL + key in row}
    sides = [_first(row, side, f"{side}_file_name") for side in ("before", "after")]
    fields.setdefault("id", " ".join(identity(side) for side in sides if isinstance(side, str)) or str(number))
    for side, name in zip(("before", "after"), sides, strict=True):
        fields[side] = (
            name if isinstance(name, str) and lies_below(name) else None
        )  # images outside the folder are not shown
    # Ignore a probability where a label belongs, and data set regions in pixels.
    kinds = {"changed": bool, "change_type": str, "truth": dict, "swapped": str, "difficulty": dict}
    for name in (*kinds, "regions"):
        if not isinstance(fields.get(name), kinds.get(name, ())):
            fields.pop(name, None)
    return fields


def failure(row: Mapping[str, Any]) -> str:
    """Return why `idc-caption` has no caption for a pair; empty if it has one."""
    if row.keys() & {"hypothesis", MODEL + "caption"}:
        return ""
    return str(_first(row, MODEL + "error", "error") or "")


def lies_below(name: str) -> bool:
    """Return whether a name is a relative path that stays in its folder, with / as separator."""
    path = PurePosixPath(name)
    return bool(name) and not (path.is_absolute() or ".." in path.parts or any(sign in name for sign in "\\:\0"))


def identity(value: Any) -> Any:
    """Normalise an id: numbers become text, text gets one Unicode form, so that equal names compare equal."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return unicodedata.normalize("NFC", value) if isinstance(value, str) else value


def with_references(
    rows: list[tuple[str, dict[str, Any]]], annotations: Path, path: Path, tell: Callable[[str], None]
) -> list[tuple[str, dict[str, Any]]]:
    """Add to each row the references and labels of its pair in another file.

    Raises:
        ValueError: The two files have different pairs, or rows already have references.
    """
    known = read_annotations(annotations)
    if own := [where for where, row in rows if "references" in row]:
        raise ValueError(f"{own[0]} already has references, and --annotations gives others; leave one of them out")
    strange = [name for _, row in rows if not isinstance(name := row.get("id"), str) or name not in known]
    if strange:
        raise ValueError(
            f"{len(strange):,} of {len(rows):,} pairs of {path} are not in {annotations}, such as {strange[0]!r} (it "
            f"has {next(iter(known))!r}); give results and annotations of the same pairs"
        )
    if rest := known.keys() - {row["id"] for _, row in rows}:
        tell(
            f"{annotations} has {len(rest):,} more pairs, such as {min(rest)!r}, that are not in {path}: they "
            "are not scored"
        )
    return [(where, row | known[row["id"]]) for where, row in rows]


def passed_over(names: Iterable[str], known: Iterable[str]) -> str:
    """List ignored fields, with the known fields that may have been meant."""
    known = list(known)
    return ", ".join(repr(name) + (f" ({near})" if (near := did_you_mean(name, known)) else "") for name in names)


def _whole(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None  # JSON lines, or an error that is reported by line


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
    """Return a caption, also from the object that pycocoevalcap wraps it in."""
    return value.get("caption") if isinstance(value, dict) else value


def _only(value: Any, where: str) -> Any:
    captions = _listed(value)
    if len(captions) != 1:
        raise ValueError(
            f"{where}: {len(captions)} captions, expected the model's one caption; references go into --annotations"
        )
    return _text(captions[0])
