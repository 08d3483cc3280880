"""Converts the files of a published model to a checkpoint that captions, serves and scores like any other."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idc_data.tokenizers import Tokenizer, write_tokenizer
from idc_data.tokenizers.words import Words
from torch import Tensor

from idc_models.checkpoint import MODEL, write_contents
from idc_models.contract import Encoder
from idc_models.importing.files import Groups, groups_of, read_content, read_vocabulary, vocabularies_of
from idc_models.importing.sorting import as_backbone, modules_of, sort_groups
from idc_models.registry import find, validate
from idc_models.spec import Choice, ModelSpec, complete_objectives
from idc_models.zoo import Method, load_published, method_of, methods, settings_of

IMAGE = "image"
"""The image encoder of a published model, if it was trained with the rest."""

_STRIDE = 16  # stride of the level of ResNet-101 that most methods use


@dataclass(frozen=True)
class Imported:
    """The result of an import.

    Attributes:
        path: The checkpoint.
        words: Size of its vocabulary.
        image_size: Height and width in pixels to which it scales images.
        encoder: Where the weights of its encoder come from.
        left_out: Groups of tensors in the files that do not belong to the method.
    """

    path: Path
    words: int
    image_size: int
    encoder: str
    left_out: list[str]


def import_published(
    method: str,
    out: Path,
    *,
    files: Sequence[Path] = (),
    parts: Mapping[str, Path] | None = None,
    vocabulary: Path | None = None,
    encoder: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    image_size: int | None = None,
    max_length: int = 50,
    no_change: Sequence[str] = (),
) -> Imported:
    """Convert a published checkpoint to ours.

    Args:
        method: One of `idc_models.zoo.methods()`.
        out: The checkpoint to write.
        files: Files of the published model; the names of tensors tell which module they belong to.
        parts: Module -> its file, if known; `image` is the encoder.
        vocabulary: JSON; None uses the one in the files.
        encoder: A spec's `model.encoder`; None means ResNet-101 with ImageNet weights, up to the published level.
        settings: Settings of our `fusion` and `decoder`, which override those inferred from the shapes.
        image_size: Height and width in pixels to which images are scaled; None means the published size.
        max_length: Maximum number of tokens of a caption, including bos and eos.
        no_change: Captions of the model that mean no change, to compute the probability of a change.

    Raises:
        ValueError: Files, settings or the encoder do not fit; nothing is written.
        OSError: A file cannot be read or written.
    """
    recipe = method_of(method)
    state, others, contents = _read(method, files, parts or {})
    try:
        found = settings_of(method, state, settings)
    except ValueError as error:
        raise ValueError(f"{error}{_told(others)}") from error
    embedding = next(name for name, value in state.items() if _is_embedding(method, name))
    words = _words(recipe, len(state[embedding]), vocabulary, contents, max_length)
    for sentence in no_change:
        if unknown := words.unknown(sentence):
            raise ValueError(f"no-change caption {sentence!r} has a word that is not in the vocabulary: {unknown[0]!r}")

    fusion, decoder, objectives = load_published(method, state, {**(settings or {}), "vocab": words})
    chosen = {"name": "torchvision", "backbone": "resnet101", "level": recipe.level, "pretrained": True, "frozen": True}
    spec = ModelSpec.model_validate(
        {
            "encoder": dict(encoder or chosen),
            "fusion": {"name": recipe.fusion, **found["fusion"]},
            "decoder": {"name": recipe.decoder, **found["decoder"]},
        }
    )
    seeing, origin, rest = _encoder(spec.encoder, others, given=encoder is not None)
    if seeing.dim != found["visual_dim"]:
        raise ValueError(
            f"encoder {spec.encoder.name!r} has cells of width {seeing.dim}, but the published {method!r} needs "
            f"{found['visual_dim']}; choose another with --encoder"
        )
    side = image_size or recipe.image_size or _STRIDE * found["fusion"].get("grid_side", 14)
    weighted = {name: {"weight": recipe.objectives[name], **found["objectives"].get(name, {})} for name in objectives}
    values = {
        "name": method,
        "data": {"image_size": side, "max_length": max_length},
        "model": spec.completed().model_dump(mode="json"),
        "train": {"objectives": complete_objectives(weighted)},
        "eval": {"beam": 1, "length_penalty": 0.0},
        "tracking": "off",
    }
    modules = {"encoder": seeing, "fusion": fusion, "decoder": decoder}
    modules |= {f"objectives.{name}": objective for name, objective in objectives.items()}
    tensors = {
        f"{MODEL}{part}.{name}": value
        for part, module in modules.items()
        for name, value in module.state_dict().items()
    }
    metadata = {
        "spec": json.dumps(values),
        "tokenizer": write_tokenizer(words),
        "progress": json.dumps({"imported": method}),
        "unchanged": json.dumps(list(no_change)),
    }
    write_contents(out, metadata, tensors)
    return Imported(out, words.size, side, origin, rest)


def _read(method: str, files: Sequence[Path], parts: Mapping[str, Path]) -> tuple[dict[str, Tensor], Groups, list[Any]]:
    """Return the tensors by MODULE/NAME, the groups outside the method, and the content of each file."""
    state: dict[str, Tensor] = {}
    others: Groups = {}
    contents = []
    if not files and not parts:
        raise ValueError(f"no file of {method!r}; give its checkpoint, or --part {next(iter(modules_of(method)))}=FILE")
    for part, path in [*((None, path) for path in files), *parts.items()]:
        contents.append(read_content(path))
        groups = groups_of(contents[-1])
        if not groups:
            raise ValueError(f"{path} holds no tensors; expected the state dicts of {method!r}")
        if part == IMAGE:
            others |= {IMAGE: max(groups.values(), key=len)}
            continue
        placed, left = sort_groups(method, groups, only=part)
        if part is not None and not placed:
            raise ValueError(f"{path} is not part {part!r} of {method!r}: {_misfit(method, left, part)}")
        for module, tensors in placed.items():
            state |= {f"{module}/{name}": _plain(value) for name, value in tensors.items()}
        others |= left
    if not state:
        raise ValueError(f"the files hold no module of {method!r}: {_misfit(method, others)}{_better(others)}")
    return state, others, contents


def _plain(value: Tensor) -> Tensor:
    return value.detach().float() if value.is_floating_point() else value


def _misfit(method: str, groups: Groups, only: str | None = None) -> str:
    """Name a tensor that does not belong to the module that a group resembles most."""
    modules = modules_of(method)
    counts = [
        (sum(map(bool, map(names.match, tensors))), module, where)
        for where, tensors in groups.items()
        for module, names in modules.items()
        if only in (None, module)
    ]
    if not counts:
        return "there are no tensors"
    _, module, where = max(counts, key=lambda each: each[0])
    strange = next(name for name in groups[where] if not modules[module].match(name))
    return f"{strange!r}{f' in {where!r}' if where else ''} is not a parameter of its module {module!r}"


def _better(groups: Groups) -> str:
    counts = {name: len(sort_groups(name, groups)[0]) for name in methods()}
    best = max(counts, key=lambda name: counts[name])
    return f"; it looks like {best!r}" if counts[best] else ""


def _told(others: Groups) -> str:
    return f"; not part of it: {', '.join(repr(name or 'the top') for name in list(others)[:3])}" if others else ""


def _is_embedding(method: str, name: str) -> bool:
    starts = [theirs for theirs, ours in method_of(method).names.items() if ours == "decoder/embedding."]
    return name.startswith(tuple(starts)) and name.endswith("weight")


def _words(recipe: Method, size: int, path: Path | None, contents: Sequence[Any], max_length: int) -> Tokenizer:
    """Build a tokenizer from the published vocabulary, with its ids."""
    if path is not None:
        listed, source = _listed(read_vocabulary(path), str(path)), str(path)
    else:
        held = [each for content in contents for each in vocabularies_of(content) if len(each) == size]
        if not held:
            raise ValueError(
                f"the checkpoint has {size} words but no vocabulary; give it as --vocab FILE: JSON with {{word: id}} "
                "or a list of words by id, which usually comes with the published data"
            )
        listed, source = _listed(held[0], "the checkpoint"), "the checkpoint"
    if len(listed) != size:
        raise ValueError(f"the vocabulary of {source} has {len(listed)} words, but the checkpoint has {size}")
    ids = {"pad": recipe.pad, "bos": recipe.start, "eos": recipe.end}
    special = {name: number % size for name, number in ids.items()}
    unknown = [number for number, word in enumerate(listed) if word.lower() in ("<unk>", "unk", "[unk]")]
    return Words(listed, max_length, special=special | ({"unk": unknown[0]} if unknown else {}))


def _listed(given: Any, source: str) -> list[str]:
    """Return the words of a vocabulary in the order of their ids."""
    if isinstance(given, Mapping):
        inner = next((given[name] for name in ("word_to_idx", "word2idx", "vocab", "stoi") if name in given), given)
        by_id = next((given[name] for name in ("idx_to_word", "ix_to_word", "idx2word") if name in given), None)
        if isinstance(inner, Mapping) and all(type(number) is int for number in inner.values()):
            given = {number: str(word) for word, number in inner.items()}
        elif isinstance(by_id, Mapping):
            given = {int(number): str(word) for number, word in by_id.items()}
        else:
            given = inner if isinstance(inner, list) else {}
    if isinstance(given, Mapping):
        if not given or sorted(given) != list(range(len(given))):
            raise ValueError(f"the ids of the vocabulary of {source} must be 0, 1, 2, ... without gaps or duplicates")
        return [given[number] for number in range(len(given))]
    if not isinstance(given, list) or not all(isinstance(word, str) for word in given):
        raise ValueError(
            f"the vocabulary of {source} is {type(given).__name__}, expected {{word: id}}, or a list of words"
        )
    return list(given)


def _encoder(chosen: Choice, others: Groups, *, given: bool) -> tuple[Encoder, str, list[str]]:
    """Return the encoder with its weights, the origin of these, and the remaining groups."""
    encoder: Encoder = find("encoder", chosen.name)(**dict(validate("encoder", chosen.name, chosen.settings)))
    wanted = encoder.state_dict()
    for where, tensors in sorted(others.items(), key=lambda each: each[0] != IMAGE):
        if wanted and (named := as_backbone(tensors, wanted)):
            encoder.load_state_dict({name: _plain(value) for name, value in named.items()})
            return encoder, f"{where or 'the top'} in the files", [name for name in others if name != where]
    if IMAGE in others:
        raise ValueError(f"part {IMAGE!r} does not fit encoder {chosen.name!r}: it lacks {min(wanted)!r} and others")
    first = {name: value.clone() for name, value in wanted.items()}
    encoder.load_pretrained()
    if first and all(value.equal(first[name]) for name, value in encoder.state_dict().items()):
        raise ValueError(
            f"encoder {chosen.name!r} has no trained weights; set pretrained: true or weights: FILE in --encoder, or "
            f"give the published weights as --part {IMAGE}=FILE"
        )
    return encoder, encoder.origin() or "its settings", list(others)
