"""Batches for training and evaluation, independent of the number of workers."""

import errno
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from itertools import count
from multiprocessing.context import BaseContext
from random import Random
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from idc_data.batch import Batch, collate
from idc_data.example import Reader, read_examples
from idc_data.features import check_shapes
from idc_data.sides import REMEDY, unsafe
from idc_data.spec import DataSpec, Flip
from idc_data.tokenizers import Tokenizer
from idc_data.transforms import PairedTransform
from idc_data.triplets import couples, swapped
from idc_data.wording import counted

_MORE_ROOM = (
    "set data.workers=0 or a smaller data.batch_size, or give a container more memory: docker run --shm-size=1g"
)

_LOOKED_AT = 100  # pairs to check of an endless reader, which renders them
_Key = tuple[int, list[int]]  # epoch, indices of the examples


def batches_per_epoch(reader: Reader, spec: DataSpec, *, world: int = 1) -> int:
    """Return the number of training batches per epoch and process; an incomplete last batch is dropped.

    Raises:
        ValueError: There is not one complete batch.
    """
    num = len(reader) // (spec.batch_size * world)
    if not num:
        raise ValueError(
            f"the training split has {counted(len(reader), 'pair')}, fewer than one batch of {spec.batch_size} for "
            f"{counted(world, 'process', 'processes')}: reduce batch_size"
        )
    return num


def train_batches(
    reader: Reader,
    tokenizer: Tokenizer,
    spec: DataSpec,
    *,
    seed: int,
    epoch: int = 0,
    skip: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """Yield training batches without end: epoch after epoch, `batches_per_epoch` each, with persistent workers.

    The order is a permutation determined by (seed, epoch), or for an endless reader the next new examples. Augmentation
    and the choice of captions depend only on (seed, epoch, index). The same arguments therefore yield the same batches,
    and `skip` omits exactly the batches that an interrupted run has used.

    Args:
        reader: The training split.
        tokenizer: The tokenizer of its captions.
        spec: Batch size, workers, augmentation.
        seed: Seed of the order, the augmentation and the choice of captions.
        epoch: The first epoch.
        skip: Number of batches of that epoch to omit.
        rank: Index of this process, which gets every world-th example.
        world: Number of processes that train together.

    Raises:
        ValueError: There is not one complete batch, or `flip` is on and a caption mentions a side; while iterating, an
            image is damaged.
    """
    num = batches_per_epoch(reader, spec, world=world)
    if not 0 <= rank < world or not 0 <= skip <= num:
        raise ValueError(f"rank {rank} of {world} and skip {skip} of {num} batches, expected rank < world, skip <= num")

    pairs = couples(reader) if spec.triplets else None

    def keys() -> Iterator[_Key]:
        for current in count(epoch):
            if pairs:
                mixed = Random(f"order/{seed}/{current}").sample(pairs, len(pairs))
                order: Sequence[int] = [index for scene in mixed[rank::world] for index in scene]
            else:
                order = _order(reader, seed, current)[rank::world]
            for start in range(skip if current == epoch else 0, num):
                yield current, list(order[start * spec.batch_size : (start + 1) * spec.batch_size])

    check_flip(reader, spec)
    flip: Flip = "safe" if spec.flip and (not reader.endless or getattr(reader, "mirror_safe", False)) else spec.flip
    transform = PairedTransform(spec.image_size, flip=flip, crop=spec.crop, color_jitter=spec.color_jitter)
    batches = _Batches(
        reader, tokenizer, transform, captions_per_pair=spec.captions_per_pair, seed=seed, triplets=spec.triplets
    )
    return _iterate(batches, keys(), workers=spec.workers)


def check_flip(reader: Reader, spec: DataSpec) -> None:
    """Check that pairs may be mirrored: by all captions of the training split, or the first of an endless one.

    A reader whose captions never mention a side can declare it by an attribute `mirror_safe` that is True.

    Raises:
        ValueError: A caption mentions a side, or the language of captions is not supported.
    """
    if spec.flip is not True or getattr(reader, "mirror_safe", False):
        return
    pairs = range(min(len(reader), _LOOKED_AT) if reader.endless else len(reader))
    if problem := unsafe(reference for index in pairs for reference in reader[index].references):
        raise ValueError(f"flip is on, but {problem}; {REMEDY}")


def eval_batches(reader: Reader, tokenizer: Tokenizer, spec: DataSpec, *, captions: bool = True) -> Iterator[Batch]:
    """Yield every example of a split once, in order, without augmentation; the last batch may be smaller.

    Args:
        reader: The split.
        tokenizer: The tokenizer of the training captions.
        spec: Batch size and workers.
        captions: Whether to include the tokens of the first reference, to compute a loss.

    Raises:
        ValueError: While iterating, an image is damaged.
    """
    indices = range(len(reader))
    starts = indices[:: spec.batch_size]
    keys = ((0, list(indices[start : start + spec.batch_size])) for start in starts)
    batches = _Batches(reader, tokenizer, PairedTransform(spec.image_size), captions_per_pair=int(captions), seed=None)
    return _iterate(batches, keys, workers=min(spec.workers, len(starts)))


def _order(reader: Reader, seed: int, epoch: int) -> Sequence[int]:
    if reader.endless:
        return range(epoch * len(reader), (epoch + 1) * len(reader))
    order = list(range(len(reader)))
    Random(f"order/{seed}/{epoch}").shuffle(order)
    return order


class _Batches(Dataset[Batch]):
    """Complete batches by (epoch, indices), so that a reader can render a batch at once."""

    def __init__(
        self,
        reader: Reader,
        tokenizer: Tokenizer,
        transform: PairedTransform,
        *,
        captions_per_pair: int,
        seed: int | None,  # None: no randomness, the first references, and facts included
        triplets: bool = False,
    ) -> None:
        self.reader, self._tokenizer, self._transform = reader, tokenizer, transform
        self._captions_per_pair, self._seed, self._triplets = captions_per_pair, seed, triplets

    def __getitem__(self, key: _Key) -> Batch | ValueError | OSError:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            batch = self._batch(*key)
            return _shared(batch) if get_worker_info() else batch
        except (ValueError, OSError) as error:
            return error  # raised by `_iterate`: otherwise it would be wrapped in the worker's traceback

    def _batch(self, epoch: int, indices: list[int]) -> Batch:
        examples = read_examples(self.reader, indices)
        if self._triplets:
            examples = swapped(examples, (Random(f"swap/{self._seed}/{epoch}/{index}") for index in indices[::2]))
        before, after, captions, regions = [], [], [], []
        for index, example in zip(indices, examples, strict=True):
            rng = Random(f"example/{self._seed}/{epoch}/{index}")
            captions.append([self._tokenizer.encode(reference) for reference in self._choose(example.references, rng)])
            if example.inputs is not None and self._seed is not None:
                example = replace(example, regions=None)  # scaling them would require opening the images
            first, second, places = self._transform(example, rng)
            before.append(first)
            after.append(second)
            regions.append(places)
        if any(example.inputs is not None for example in examples):
            check_shapes([example.id for example in examples], before)
        facts = regions if self._seed is None else None
        return collate(examples, before, after, captions, facts, pad_id=self._tokenizer.pad_id)

    def _choose(self, references: tuple[str, ...], rng: Random) -> list[str] | tuple[str, ...]:
        if self._seed is None:
            return references[: self._captions_per_pair]
        return rng.sample(references, min(self._captions_per_pair, len(references)))


def _iterate(batches: _Batches, keys: Iterable[_Key], *, workers: int) -> Iterator[Batch]:
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=keys,
        num_workers=workers,
        multiprocessing_context=_context(batches.reader) if workers else None,
        worker_init_fn=_end_with_parent,
        generator=torch.Generator(),  # otherwise each loader draws from the global generator, which changes dropout
    )
    try:
        for batch in loader:
            if isinstance(batch, Exception):
                raise batch
            yield cast(Batch, batch)
    except (RuntimeError, OSError) as error:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC  # no space for the locks of the processes
        if not full and "DataLoader worker" not in str(error):
            raise
        raise OSError(f"the processes that read the data have failed ({error}); {_MORE_ROOM}") from error


def _shared(batch: Batch) -> Batch:
    """Move a batch to shared memory here, where a failure is reported: later, a thread would fail and the run hang."""
    try:
        for field in fields(batch):
            value = getattr(batch, field.name)
            if isinstance(value, Tensor):
                value.share_memory_()
    except RuntimeError as error:
        raise OSError(f"a batch does not fit into the shared memory (/dev/shm): {error}; {_MORE_ROOM}") from error
    return batch


def _end_with_parent(worker: int) -> None:
    """Exit when the training process is killed; otherwise workers and fork server would wait for each other forever.

    Workers ignore Ctrl-C, which reaches all processes of a terminal: the training process may need another batch.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _context(reader: Reader) -> BaseContext:
    """Return a context that starts workers from a clean server process with the necessary imports.

    Forks of the training process would inherit the locks of its threads and the pipes of its child processes.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, type(reader).__module__])
    return context
