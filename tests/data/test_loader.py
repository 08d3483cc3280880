import shutil
import signal
import subprocess
import sys
from dataclasses import fields
from itertools import islice

import numpy as np
import pytest
import torch
from idc_data import Folder, write_layout
from idc_data.batch import collate
from idc_data.loader import batches_per_epoch, eval_batches, train_batches
from idc_data.scenes import Scenes
from idc_data.spec import DataSpec
from idc_data.tokenizers.words import Words
from pydantic import ValidationError

SPEC = DataSpec(batch_size=3, image_size=16, workers=0, captions_per_pair=2, crop=0.3, color_jitter=0.2, flip=True)


@pytest.fixture
def folder(tmp_path, make_example):
    write_layout(tmp_path / "set", [make_example(n) for n in range(10)])
    return Folder("train", root=tmp_path / "set")


@pytest.fixture
def tokenizer(folder):
    return Words.train((r for example in folder for r in example.references), max_length=12)


def assert_equal(one, two):
    for field in fields(one):
        mine, theirs = getattr(one, field.name), getattr(two, field.name)
        assert torch.equal(mine, theirs) if isinstance(mine, torch.Tensor) else mine == theirs, field.name


def train(reader, tokenizer, num, spec=SPEC, **settings):
    return list(islice(train_batches(reader, tokenizer, spec, seed=5, **settings), num))


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_the_workers(folder, tokenizer, workers):
    spec = SPEC.model_copy(update={"workers": workers})
    for one, two in zip(train(folder, tokenizer, 7), train(folder, tokenizer, 7, spec), strict=True):
        assert_equal(one, two)
    for one, two in zip(eval_batches(folder, tokenizer, SPEC), eval_batches(folder, tokenizer, spec), strict=True):
        assert_equal(one, two)


def test_scenes_do_not_depend_on_the_workers():
    reader = Scenes("train", image_size=16, train_pairs=9)
    tokenizer = Words.train(reader.captions(20), max_length=30)
    spec = DataSpec(batch_size=3, image_size=16, workers=0)
    here = train(reader, tokenizer, 5, spec)
    there = train(reader, tokenizer, 5, spec.model_copy(update={"workers": 1}))
    for one, two in zip(here, there, strict=True):
        assert_equal(one, two)
    ids = [name for batch in here for name in batch.ids]
    assert ids == [f"train-{number:06d}" for number in range(15)]  # fresh pairs in the second epoch


@pytest.mark.parametrize(("epoch", "skip"), [(0, 0), (0, 2), (0, 3), (1, 0), (1, 1), (2, 3)])
def test_skipping_resumes_exactly(folder, tokenizer, epoch, skip):
    done = epoch * batches_per_epoch(folder, SPEC) + skip
    for one, two in zip(
        train(folder, tokenizer, 12)[done:], train(folder, tokenizer, 12, epoch=epoch, skip=skip), strict=False
    ):
        assert_equal(one, two)


def test_an_epoch_shows_every_example_once_in_a_new_order(folder, tokenizer):
    spec = SPEC.model_copy(update={"batch_size": 5})
    first, second = (
        [name for batch in train(folder, tokenizer, 2, spec, epoch=epoch) for name in batch.ids] for epoch in (0, 1)
    )
    assert sorted(first) == sorted(second) == sorted(example.id for example in folder)
    assert first != second


def test_ranks_share_an_epoch(folder, tokenizer):
    assert batches_per_epoch(folder, SPEC, world=2) == 1
    seen = [train(folder, tokenizer, 1, rank=rank, world=2)[0].ids for rank in (0, 1)]
    assert len({*seen[0], *seen[1]}) == 6
    with pytest.raises(ValueError, match="rank 2 of 2"):
        train_batches(folder, tokenizer, SPEC, seed=0, rank=2, world=2)


def test_loaders_leave_the_global_random_numbers_alone(folder, tokenizer):
    state = torch.random.get_rng_state()
    train(folder, tokenizer, 4)
    list(eval_batches(folder, tokenizer, SPEC))
    assert torch.equal(state, torch.random.get_rng_state())


def test_evaluation_is_complete_plain_and_in_order(folder, tokenizer):
    batches = list(eval_batches(folder, tokenizer, SPEC))
    assert [len(batch.ids) for batch in batches] == [3, 3, 3, 1]
    assert [name for batch in batches for name in batch.ids] == [example.id for example in folder]
    first = batches[0]
    assert first.pair.tolist() == [0, 1, 2]
    assert [tokenizer.decode(row.tolist()) for row in first.tokens] == [folder[n].references[0] for n in range(3)]
    assert [facts.provenance for facts in first.facts] == [folder[n].provenance for n in range(3)]


def test_a_batch_carries_only_what_is_asked_of_it(folder, tokenizer):
    assert train(folder, tokenizer, 1)[0].facts == [], "a worker would hand it over for nothing"
    plain, taught = (next(eval_batches(folder, tokenizer, SPEC, captions=captions)) for captions in (False, True))
    assert plain.tokens.numel() == plain.pair.numel() == plain.lengths.numel() == 0
    assert torch.equal(plain.shared, torch.eye(3, dtype=torch.bool)) and torch.equal(plain.before, taught.before)
    assert plain.references == taught.references and plain.facts == taught.facts


def test_a_batch_says_which_caption_is_whose(folder, tokenizer):
    for batch in train(folder, tokenizer, 6):
        assert batch.pair.tolist() == [0, 0, 1, 1, 2, 2] and batch.tokens.dtype == torch.int64
        for row, pair in zip(batch.tokens.tolist(), batch.pair.tolist(), strict=True):
            assert tokenizer.decode(row) in batch.references[pair]
        kinds = batch.change_types
        assert batch.shared.tolist() == [[mine == theirs for theirs in kinds] for mine in kinds]
        assert batch.changed == [kind != "none" for kind in kinds]


def test_a_batch_says_how_long_each_caption_is_and_which_pairs_show_one_scene(make_example, tmp_path):
    files = [tmp_path / name for name in "abcd"]
    examples = [
        make_example(0, before=files[0], after=files[1], provenance=None),
        make_example(1, before=files[2], after=files[0], provenance=None),  # has an image of the first
        make_example(2, before=files[3], after=files[3], provenance={"scene": 7}),
        make_example(3, provenance={"scene": 7}),
        make_example(4, provenance={"scene": 8}),
    ]
    images, captions = [torch.zeros(3, 8, 8, dtype=torch.uint8)] * 5, [[[1, 4, 2], [1, 2]], [[1, 5, 6, 2]], [], [], []]
    batch = collate(examples, images, images, captions, [None] * 5, pad_id=2)
    assert batch.tokens.tolist() == [[1, 4, 2, 2], [1, 2, 2, 2], [1, 5, 6, 2]]
    assert batch.lengths.tolist() == [3, 2, 4]
    together = [{0, 1}, {0, 1}, {2, 3}, {2, 3}, {4}]
    assert [{*row.nonzero()[:, 0].tolist()} for row in batch.scene] == together


def test_captions_change_over_the_epochs(folder, tokenizer):
    spec = SPEC.model_copy(update={"batch_size": 10, "captions_per_pair": 1})
    said = [{tokenizer.decode(row) for row in batch.tokens.tolist()} for batch in train(folder, tokenizer, 8, spec)]
    assert {reference for example in folder for reference in example.references} == set.union(*said)


def test_padding_and_devices(folder):
    images = [torch.zeros(3, 4, 4, dtype=torch.uint8)] * 2
    examples = [folder[0], folder[1]]
    batch = collate(examples, images, images, [[[1, 5, 2], [1, 2]], [[1, 5, 6, 2]]], [None, None], pad_id=0)
    assert batch.tokens.tolist() == [[1, 5, 2, 0], [1, 2, 0, 0], [1, 5, 6, 2]] and batch.pair.tolist() == [0, 0, 1]
    moved = batch.to("meta")
    assert moved.before.device.type == moved.shared.device.type == "meta" and moved.ids == batch.ids


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_one_plain_error(folder, tokenizer, workers):
    folder[4].before.write_bytes(b"\x89PNG")
    spec = SPEC.model_copy(update={"workers": workers})
    with pytest.raises(ValueError, match=r"train-4_before\.png") as caught:
        list(eval_batches(folder, tokenizer, spec))
    assert "Traceback" not in str(caught.value)


def test_whole_batches_are_asked_of_readers_that_can(tokenizer, squares):
    class Renders(squares):
        asked = []

        def examples(self, indices):
            self.asked.append(indices)
            return [self[index] for index in indices]

    reader = Renders(8)
    list(eval_batches(reader, tokenizer, SPEC))
    assert reader.asked == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_too_few_pairs_for_a_batch(tokenizer, squares):
    with pytest.raises(ValueError, match="2 pairs, fewer than one batch of 3"):
        train_batches(squares(2), tokenizer, SPEC, seed=0)


@pytest.mark.parametrize(
    "wrong", [{"batchsize": 3}, {"crop": 1.0}, {"workers": -1}, {"max_length": 2}, {"image_size": "x"}]
)
def test_the_spec_is_strict(wrong):
    with pytest.raises(ValidationError):
        DataSpec(**wrong)


@pytest.mark.slow
@pytest.mark.skipif(
    subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0
    if shutil.which("unshare")
    else True,
    reason="only root of a Linux may give itself another /dev/shm",
)
@pytest.mark.parametrize("size", ["16k", "200k"])
def test_a_small_shared_memory_is_one_line_and_no_endless_wait(folder, tmp_path, size):
    program = """
import sys
from pathlib import Path
from idc_data import Folder
from idc_data.loader import train_batches
from idc_data.spec import DataSpec
from idc_data.tokenizers.words import Words
if __name__ == "__main__":
    reader = Folder("train", root=Path(sys.argv[1]))
    tokenizer = Words.train(["nothing has changed"], max_length=9)
    try:
        next(train_batches(reader, tokenizer, DataSpec(batch_size=2, workers=2, image_size=256), seed=0))
    except OSError as error:
        print(error)
"""
    script = tmp_path / "train.py"
    script.write_text(program)
    mount = 'mount -t tmpfs -o size=$0 tmpfs /dev/shm && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", mount, size, sys.executable, script, tmp_path / "set"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=600, check=False)
    assert "No space left on device" in ended.stdout and len(ended.stdout.splitlines()) == 1
    assert "set data.workers=0 or a smaller data.batch_size" in ended.stdout and "--shm-size" in ended.stdout


@pytest.mark.slow
def test_workers_end_with_a_killed_process(folder, tmp_path):
    program = """
import os, signal, sys
from pathlib import Path
from idc_data import Folder
from idc_data.loader import train_batches
from idc_data.spec import DataSpec
from idc_data.tokenizers.words import Words
if __name__ == "__main__":
    reader = Folder("train", root=Path(sys.argv[1]))
    tokenizer = Words.train(["nothing has changed"], max_length=9)
    batches = train_batches(reader, tokenizer, DataSpec(batch_size=2, workers=2), seed=0)
    next(batches)
    print("killed", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    script = tmp_path / "train.py"
    script.write_text(program)
    # Everything that the process has started holds its stdout: `run` returns when the last one has ended.
    ended = subprocess.run(
        [sys.executable, script, tmp_path / "set"], stdout=subprocess.PIPE, text=True, timeout=600, check=False
    )
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "killed\n")


@pytest.fixture
def scenes(make_example):
    """Six scenes, each with a changed pair and a distractor of one image, which shows the number of the scene."""

    def shows(value):
        return np.full((16, 16, 3), value, np.uint8)

    pairs = []
    for scene in range(6):
        for changed in (True, False):
            after = shows(10 * scene + (1 if changed else 2))
            images = {"before": shows(10 * scene), "after": after}
            pairs.append(make_example(len(pairs), **images, changed=changed, regions=None, provenance={"scene": scene}))
    return Listed(pairs)


class Listed(list):
    endless, fingerprint = False, "0"


TRIPLETS = DataSpec(batch_size=4, image_size=16, workers=0, triplets=True)


def test_both_pairs_of_a_scene_are_in_one_batch_and_half_of_them_show_the_distractor_before(scenes, tokenizer):
    batches, seen = train(scenes, tokenizer, 60, TRIPLETS), []
    for batch in batches:
        assert batch.changed == [True, False] * 2 and batch.scene.sum() == 8
        before, after = (side[:, 0, 0, 0].tolist() for side in (batch.before, batch.after))
        for row in (0, 2):
            scene = after[row] - 1  # what changed
            swap = before[row] == scene + 2
            assert (before[row], before[row + 1], after[row + 1]) == (
                (scene + 2, scene + 2, scene) if swap else (scene, scene, scene + 2)
            )
            seen.append(swap)
    assert 0.35 < sum(seen) / len(seen) < 0.65
    epochs = [sorted(name for batch in batches[start : start + 3] for name in batch.ids) for start in (0, 3)]
    assert epochs == [sorted(example.id for example in scenes)] * 2
    for one, two in zip(train(scenes, tokenizer, 4, TRIPLETS, skip=1), batches[1:], strict=False):
        assert_equal(one, two)
    ranks = [
        train(scenes, tokenizer, 1, TRIPLETS.model_copy(update={"batch_size": 6}), rank=n, world=2) for n in (0, 1)
    ]
    assert not {*ranks[0][0].ids} & {*ranks[1][0].ids}


def test_triplets_need_both_pairs_of_each_scene(scenes, folder, tokenizer):
    with pytest.raises(ValueError, match="has no scene; expected a changed pair and a distractor of each scene"):
        train(folder, tokenizer, 1, TRIPLETS)
    with pytest.raises(ValueError, match="scene 5 .1 such. has only one pair"):
        train(Listed(scenes[:-1]), tokenizer, 1, TRIPLETS)
    with pytest.raises(ValidationError, match="batch_size is 3"):
        DataSpec(batch_size=3, triplets=True)
