"""Features of a split in one file: whole or not at all, resumed, checked; and which images are the same."""

import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
from idc_data.contents import contents
from idc_data.feature_file import FeatureFile, WithFeatures, feature_file
from idc_data.layout import Folder, write_layout

NUM = 1_100
VALUES = np.random.default_rng(0).normal(size=(NUM, 2, 3)).astype(np.float16)


class Killed(Exception):
    pass


def compute(until=NUM, asked=None):
    """Gives a function that computes rows up to one at which the process ends."""

    def rows(wanted):
        if asked is not None:
            asked.extend(wanted)
        if wanted[-1] >= until:
            raise Killed
        return VALUES[list(wanted)].astype(np.float32)

    return rows


def test_every_row_is_what_was_computed(tmp_path):
    file = feature_file(tmp_path / "a.npy", NUM, compute(), batch=100)
    assert file.shape == (2, 3)
    assert all(np.array_equal(file[row], VALUES[row]) for row in range(NUM))
    assert np.array_equal(np.load(tmp_path / "a.npy"), VALUES)


def test_a_finished_file_is_not_computed_again(tmp_path):
    feature_file(tmp_path / "a.npy", NUM, compute())
    asked = []
    feature_file(tmp_path / "a.npy", NUM, compute(asked=asked))
    assert asked == []


@pytest.mark.parametrize("end", [1, 500, 700, 1_099])
def test_a_killed_computation_leaves_no_file_and_goes_on_where_it_was_saved(tmp_path, end):
    with pytest.raises(Killed):
        feature_file(tmp_path / "a.npy", NUM, compute(until=end))
    assert not (tmp_path / "a.npy").exists()
    asked = []
    file = feature_file(tmp_path / "a.npy", NUM, compute(asked=asked))
    assert all(np.array_equal(file[row], VALUES[row]) for row in range(NUM))
    assert min(asked) == end // 64 * 64 // 512 * 512


def test_what_a_killed_process_left_is_not_trusted_where_it_is_damaged(tmp_path):
    with pytest.raises(Killed):
        feature_file(tmp_path / "a.npy", NUM, compute(until=700))
    rows = np.load(tmp_path / "a.unfinished", mmap_mode="r+")
    rows[3] = 0
    rows.flush()
    file = feature_file(tmp_path / "a.npy", NUM, compute())
    assert np.array_equal(file[3], VALUES[3])


@pytest.mark.parametrize("harm", ["shorter", "other", "no checksums"])
def test_a_damaged_file_is_computed_again(tmp_path, harm):
    feature_file(tmp_path / "a.npy", NUM, compute())
    path, sums = tmp_path / "a.npy", tmp_path / "a.json"
    if harm == "shorter":
        os.truncate(path, path.stat().st_size // 2)
    elif harm == "other":
        np.save(path, VALUES[::-1])
    else:
        sums.unlink()
    with pytest.raises(ValueError, match=r"a\.npy' are damaged"):
        FeatureFile(path)
    file = feature_file(path, NUM, compute())
    assert np.array_equal(file[0], VALUES[0])


def test_what_float16_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"reach 1e\+05, .* 65504"):
        feature_file(tmp_path / "a.npy", 1, lambda rows: np.full((1, 2), 1e5))
    assert not (tmp_path / "a.npy").exists()


@pytest.fixture
def folder(tmp_path, make_example):
    """Two pairs, of which the second has the first's before image under another name."""
    first, second = make_example(0), make_example(1)
    write_layout(tmp_path / "pairs", [first, replace(second, before=first.before)])
    return Folder("train", root=tmp_path / "pairs")


def test_images_are_the_same_by_what_is_in_them(folder, tmp_path):
    found = contents(folder, tmp_path / "known.json")
    assert len(found.images) == len(set(found.digests)) == 3
    assert found.rows.tolist() == [[0, 1], [0, 2]]


def test_an_image_that_was_replaced_is_another(folder, tmp_path):
    known = tmp_path / "known.json"
    before = contents(folder, known).digests
    path = folder[0].after
    stamp = path.stat()
    path.write_bytes(folder[1].after.read_bytes())
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 10**9))
    assert contents(folder, known).digests[1] != before[1]


def test_files_that_have_not_changed_are_not_read_again(folder, tmp_path, monkeypatch):
    for path in (tmp_path / "pairs").rglob("*.png"):
        os.utime(path, (1_000, 1_000))
    found = contents(folder, tmp_path / "known.json")
    for path in (tmp_path / "pairs").rglob("*.png"):
        size = path.stat().st_size
        path.write_bytes(b"\0" * size)  # as it would be found, were it read
        os.utime(path, (1_000, 1_000))
    assert contents(folder, tmp_path / "known.json").digests == found.digests


def test_a_split_with_features_shows_the_same_images(folder, tmp_path):
    found = contents(folder, tmp_path / "known.json")
    file = feature_file(tmp_path / "a.npy", 3, compute())
    reader = pickle.loads(pickle.dumps(WithFeatures(folder, file, found.rows)))
    assert len(reader) == 2 and reader.fingerprint == folder.fingerprint
    for examples in ([reader[0], reader[1]], reader.examples([0, 1])):
        for index, example in enumerate(examples):
            assert replace(example, inputs=None) == folder[index]
            assert all(
                np.array_equal(side, VALUES[row]) for side, row in zip(example.inputs, found.rows[index], strict=True)
            )


def test_a_process_that_reads_batches_maps_the_file_itself(tmp_path):
    file = feature_file(tmp_path / "a.npy", NUM, compute())
    assert len(pickle.dumps(file)) < 1_000
