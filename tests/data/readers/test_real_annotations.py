"""The annotation files that were published give the counts that were published."""

from pathlib import Path

import pytest
from idc_data.readers import resolve_reader
from idc_data.readers.published import merged

ANNOTATIONS = next(
    (
        each / "shared/data/annotations"
        for each in Path(__file__).parents
        if (each / "shared/data/annotations").is_dir()
    ),
    None,
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(ANNOTATIONS is None, reason="there is no ../shared with the published annotation files"),
]


@pytest.mark.parametrize(
    ("name", "split", "records", "pairs", "references"),
    [
        ("spot-the-diff", "train", 9524, 8566, None),
        ("spot-the-diff", "val", 1634, 1493, None),
        ("image-editing-request", "train", 3061, 2507, None),
        ("image-editing-request", "val", 383, 357, None),
        ("image-editing-request", "test", 495, 446, None),
        ("birds-to-words", "train", 12890, 2685, None),
        ("birds-to-words", "val", 325, 325, None),
        ("birds-to-words", "test", 337, 337, None),
        ("levir-cc", "train", 6815, 6815, {5}),
        ("levir-cc", "val", 1333, 1333, {5}),
        ("levir-cc", "test", 1929, 1929, {5}),
        ("clevr-change", "train", 67660, 2 * 33830, None),
        ("clevr-change", "val", 3976, 2 * 1988, None),
        ("clevr-change", "test", 7970, 2 * 3985, None),
    ],
)
def test_published_counts(name, split, records, pairs, references):
    assert ANNOTATIONS is not None
    reader, settings = resolve_reader({"name": name, "root": ANNOTATIONS / name.replace("-", "_")})
    read = reader(split, False, **settings)
    assert (len(read.records), len(merged(read.records))) == (records, pairs)
    assert read.published[split] == pairs
    assert references is None or {len(pair.references) for pair in read.pairs} == references
