"""Applies fixes to a dataset; the result is written elsewhere, never in place."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from idc_data.doctor.diagnosis import FIXES, Diagnosis
from idc_data.doctor.examine import foreign
from idc_data.example import SPLITS, ChangeExample
from idc_data.readers.published import Published
from idc_data.wording import did_you_mean


def mended(
    reader: type[Published], settings: Mapping[str, Any], found: Diagnosis, fixes: Collection[str]
) -> Iterator[ChangeExample]:
    """Yield the pairs of all splits after applying fixes.

    Raises:
        ValueError: A fix is unknown, or an image of a remaining pair is damaged.
        OSError: An image of a remaining pair is missing.
    """
    for name in fixes:
        if name not in FIXES:
            known = f"expected one or more of {', '.join(FIXES)}"
            raise ValueError(f"unknown fix {name!r} in --fix, {did_you_mean(name, FIXES, known)}")
    dropped = set().union(*(found.drops.get(name, ()) for name in fixes))
    for split in SPLITS:
        read = reader(split, False, **settings)
        for index, pair in enumerate(read.pairs):
            if (split, pair.id) in dropped:
                continue
            example = read[index]
            if "drop-foreign" in fixes:
                example = replace(example, references=tuple(text for text in example.references if not foreign(text)))
            if example.references:
                yield example
