"""The data of an experiment: three splits, the tokenizer, and their identity."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from idc_data import unchanged
from idc_data.example import SPLITS, ChangeExample, Reader, read_examples
from idc_data.feature_folder import with_feature_folder
from idc_data.layout import Folder
from idc_data.loader import check_flip
from idc_data.readers import open_reader, resolve_reader
from idc_data.spec import FeatureFolder
from idc_data.tokenizers import Tokenizer, make_tokenizer

from idc_run.spec import Spec

_VOCABULARY_PAIRS = 5_000
"""Number of pairs of an endless reader from which the vocabulary is made."""

_UNCHANGED, _SAMPLE = 32, 500
"""Number of no-change sentences that a checkpoint stores, and of validation pairs read before training."""


@dataclass(frozen=True)
class Data:
    """The three splits, the training captions, and the tokenizer made from them.

    `kept` is the shape of the cached features of an image (see `Captioner.kept`), if the pairs have them.
    """

    train: Reader
    val: Reader
    test: Reader
    captions: list[str]
    tokenizer: Tokenizer
    kept: tuple[int, ...] | None = None


def open_data(spec: Spec, tokenizer: Tokenizer | None = None) -> Data:
    """Open the splits; make the tokenizer from the training captions unless one is given."""
    train, val, test = open_splits(spec, *SPLITS)
    check_flip(train, spec.data)
    captions = list(_captions(train))
    if tokenizer is None:
        tokenizer = make_tokenizer(spec.data.tokenizer, captions, spec.data.max_length)
    return Data(train, val, test, captions, tokenizer)


def open_splits(spec: Spec, *splits: str) -> list[Reader]:
    """Open splits, whose pairs carry features where the spec names a folder of them.

    Raises:
        ValueError: As `open_reader`, or an image has no features.
        OSError: Files are missing.
    """
    readers = [open_reader(spec.data.dataset, split, image_size=spec.data.image_size) for split in splits]
    if isinstance(spec.data.features, FeatureFolder):
        return list(with_feature_folder(readers, spec.data.features.folder))
    return readers


def validation_sample(data: Data) -> list[ChangeExample]:
    """Return the validation pairs, or 500 evenly spaced ones."""
    num = len(data.val)
    pairs = [index * num // min(num, _SAMPLE) for index in range(min(num, _SAMPLE))]
    return read_examples(data.val, pairs)


def _captions(train: Reader) -> Iterable[str]:
    """Return the references of the training split; for an endless one those of its first pairs, without rendering."""
    captions = getattr(train, "captions", None)
    if captions:
        return captions(_VOCABULARY_PAIRS)
    return (reference for index in range(len(train)) for reference in train[index].references)


def training_references(train: Reader) -> Sequence[Sequence[str]]:
    """Return the references of each pair of the training split; for an endless one those of its first pairs."""
    references = getattr(train, "references", None)
    if references:
        return references(_VOCABULARY_PAIRS)
    return [
        train[index].references for index in range(min(len(train), _VOCABULARY_PAIRS) if train.endless else len(train))
    ]


def no_change_sentences(validation: Iterable[ChangeExample], tokenizer: Tokenizer) -> tuple[str, ...]:
    """Return the most frequent references of unchanged pairs, as the model spells them."""
    counts = Counter(
        tokenizer.decode(tokenizer.encode(reference))
        for example in validation
        if not example.changed
        for reference in example.references
        if not tokenizer.unknown(reference)
    )
    return tuple(sorted(counts, key=lambda said: (-counts[said], said))[:_UNCHANGED])


def folder_read(spec: Spec) -> Path | None:
    """Return the folder of the dataset if it has the project's own layout."""
    reader, settings = resolve_reader(spec.data.dataset)
    return Path(settings["root"]) if reader is Folder else None


def no_change(spec: Spec) -> tuple[str, ...]:
    """Return the no-change sentences for scoring: those of the spec, or else those of the dataset."""
    folder = folder_read(spec)
    return spec.eval.no_change or tuple(unchanged.no_change_sentences(folder) if folder else ())


def identity(spec: Spec, reader: Reader) -> str:
    """Return a string that is equal for two evaluations on the same images."""
    return f"{reader.fingerprint}@{spec.data.image_size}px"


def datasets(spec: Spec, data: Data) -> dict[str, tuple[str, str]]:
    """Return name and identity of each split."""
    name = spec.completed()["data"]["dataset"]["name"]
    splits = {"train": data.train, "val": data.val, "test": data.test}
    return {split: (name, identity(spec, reader)) for split, reader in splits.items()}
