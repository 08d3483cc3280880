"""Features that were computed before, as what a model sees."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from idc_data.loader import eval_batches, train_batches
from idc_data.spec import DataSpec
from idc_data.tokenizers.words import Words

PLAIN = DataSpec(batch_size=4, image_size=16, workers=0)
WORDS = Words.train(["the red square moved"], max_length=12)


class WithFeatures:
    """Pairs in memory whose inputs are `pairs[index]`."""

    endless, fingerprint = False, "0"

    def __init__(self, examples, pairs):
        self._examples = [replace(each, inputs=pair) for each, pair in zip(examples, pairs, strict=True)]

    def __len__(self):
        return len(self._examples)

    def __getitem__(self, index):
        return self._examples[index]


@pytest.fixture
def arrays():
    return np.random.default_rng(0).normal(size=(4, 2, 5, 3, 2)).astype(np.float16)


@pytest.fixture
def reader(make_example, arrays):
    """Gives a reader whose features are those of `arrays`, with some changed: {(pair, side): other}."""

    def make(changed=()):
        pairs = [list(pair) for pair in arrays]
        for (pair, side), value in dict(changed).items():
            pairs[pair][side] = value
        return WithFeatures([make_example(number) for number in range(4)], [tuple(pair) for pair in pairs])

    return make


def batch_of(reader, spec=PLAIN):
    (batch,) = eval_batches(reader, WORDS, spec)
    return batch


def test_a_batch_has_the_features_of_both_sides_as_precise_as_they_are_stored(reader, arrays):
    batch = batch_of(reader())
    assert batch.before.dtype == batch.after.dtype == torch.float16
    assert torch.equal(batch.before, torch.from_numpy(arrays[:, 0]))
    assert torch.equal(batch.after, torch.from_numpy(arrays[:, 1]))


def test_training_sees_the_same_and_opens_no_image(make_example, arrays, tmp_path):
    nowhere = [make_example(number, before=tmp_path / "no.png", after=tmp_path / "no.png") for number in range(4)]
    (batch,) = islice(train_batches(WithFeatures(nowhere, [tuple(pair) for pair in arrays]), WORDS, PLAIN, seed=1), 1)
    order = [int(name.rpartition("-")[2]) for name in batch.ids]
    assert torch.equal(batch.before, torch.from_numpy(arrays[order, 0]).float())


def test_regions_are_those_of_the_images(reader, make_example):
    plain = WithFeatures([make_example(number) for number in range(4)], [None] * 4)
    assert [facts.regions for facts in batch_of(reader()).facts] == [facts.regions for facts in batch_of(plain).facts]


def test_files_are_read_and_nothing_pickled_is(reader, arrays, tmp_path):
    np.save(tmp_path / "a.npy", arrays[0, 0])
    assert torch.equal(batch_of(reader({(1, 1): tmp_path / "a.npy"})).after[1], torch.from_numpy(arrays[0, 0]).float())
    np.save(tmp_path / "b.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"b\.npy' cannot be read, expected a \.npy file"):
        batch_of(reader({(1, 1): tmp_path / "b.npy"}))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.ones((5, 3, 3), np.float32), r"'train-2' have shapes \[5, 3, 3\] .* \[5, 3, 2\]"),
        (np.full((5, 3, 2), np.nan, np.float32), "'train-2' contain a number that is not finite"),
        (np.ones((5, 3, 2), np.int64), r"'train-2' are int64 \[5, 3, 2\], expected an array of floats"),
    ],
)
def test_what_cannot_be_features_is_refused(reader, value, told):
    with pytest.raises(ValueError, match=told) as error:
        batch_of(reader({(2, 0): value}))
    assert "\n" not in str(error.value)


def test_pairs_have_features_of_one_shape(reader):
    other = np.ones((5, 7, 7), np.float32)
    with pytest.raises(ValueError, match=r"'train-3'.*\[5, 7, 7\].*'train-0'.*\[5, 3, 2\]"):
        batch_of(reader({(3, 0): other, (3, 1): other}))


@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY", b"no array at all"])
def test_a_missing_or_a_damaged_file_is_named(reader, tmp_path, content):
    if content is not None:
        (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.npy' (are missing|cannot be read)") as error:
        batch_of(reader({(0, 0): tmp_path / "x.npy"}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "value"), [("flip", "safe"), ("crop", 0.1), ("color_jitter", 0.2)])
def test_no_augmentation_changes_features(reader, name, value):
    spec = PLAIN.model_copy(update={name: value})
    with pytest.raises(ValueError, match=f"data.{name} is {value!r}"):
        next(train_batches(reader(), WORDS, spec, seed=1))
