"""The zoo: published methods, one file each, with the map from the names of their published parameters to ours.

`load_published` makes our parts of a published state; tests/models/zoo compares what they compute.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from idc_data.wording import suggestion
from torch import Tensor, nn

from idc_models.contract import Decoder, Fusion, Objective, TokenSpace, Widths
from idc_models.registry import find, validate

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Method:
    """A published method: its parts, what it minimises, and where its published weights go."""

    fusion: str
    decoder: str
    objectives: Mapping[str, float]
    """What is minimised: name -> weight as published."""
    names: Mapping[str, str | None]
    """How published names begin -> how ours begin; None for weights that no output depends on. A name is that of the
    module, a slash, and that of the parameter; ours begin with fusion/, decoder/ or objectives/NAME/. A star stands for
    the number of a layer; where only theirs has one, the last layer's weights are ours."""
    found: Callable[[State], Mapping[str, Any]]
    """Settings that the shapes of a state say: `visual_dim`, and those of `fusion`, `decoder`, `objectives`."""
    unused: Callable[[State], Sequence[str]] = lambda state: ()
    """How the names of weights begin that this state does not use, though others of the method may."""
    pad: int = 0
    start: int = 2
    end: int = 3
    """Ids of the special tokens; a negative one counts from the end of the vocabulary."""
    level: int = -2
    """Which level of ResNet-101 gives the grid."""
    image_size: int | None = None
    """Height and width of the published images in pixels; None: 16 for each cell of the published grid."""


@dataclass(frozen=True)
class PublishedTokens:
    """The token ids of a published model whose words are not known."""

    size: int
    pad_id: int
    bos_id: int
    eos_id: int
    max_length: int = 50

    def decode(self, ids: Sequence[int]) -> str:
        """Spell the ids themselves, up to the first eos."""
        ids = list(ids)
        ended = ids.index(self.eos_id) if self.eos_id in ids else len(ids)
        return " ".join(map(str, ids[:ended]))


def methods() -> list[str]:
    """List the published methods whose weights can be loaded."""
    return sorted(module.name.replace("_", "-") for module in iter_modules(__path__))


def method_of(name: str) -> Method:
    """Give a method by name.

    Raises:
        ValueError: there is none of this name.
    """
    if name.replace("_", "-") not in methods():
        raise ValueError(f"unknown method {name!r}{suggestion(name, methods())}")
    return import_module(f"{__name__}.{name.replace('-', '_')}").METHOD


def load_published(
    method: str, state: State, settings: Mapping[str, Any] | None = None
) -> tuple[Fusion, Decoder, dict[str, Objective]]:
    """Make our parts of the weights of a published model; in eval mode they compute what the published modules do.

    Grids go in as `b gh gw d`, without coordinates; `fusion(before, after).memory` is `b m e`. One row of it for each
    caption goes into `decoder(memory, tokens)`, whose logits `n l v` predict at position t the token at t + 1. Tokens
    keep their published ids. What an objective gives is not yet multiplied by its weight, which is that of
    `method_of(method).objectives`.

    Args:
        method: one of `methods()`.
        state: published tensors by `MODULE/NAME`, such as `detector/embed.0.weight`; each method's file lists them.
        settings: what the shapes do not say: `fusion`, `decoder` and `objectives` -> settings of our parts (those of an
            objective under its name), such as {"decoder": {"heads": 8}}, and `vocab`, a token space; by default the
            published settings, and ids without words.

    Returns:
        The fusion, the decoder, and the objectives by name, all in eval mode. An objective with weights is left out if
        the state has none of them.

    Raises:
        ValueError: there is no such method or setting, or the state is not one of this method; the message says what
            does not fit.
    """
    recipe, renamed = method_of(method), rename(method, state)
    found = settings_of(method, state, settings)
    embedding = renamed["decoder/embedding.weight"]

    def construct(kind: str, name: str, chosen: Mapping[str, Any], *wired: object) -> Any:
        return find(kind, name)(*wired, **dict(validate(kind, name, chosen)))

    fusion = construct("fusion", recipe.fusion, found["fusion"], found["visual_dim"])
    vocab: TokenSpace = found.get("vocab") or _tokens(recipe, embedding)
    decoder = construct("decoder", recipe.decoder, found["decoder"], fusion.memory_dim, vocab)
    widths = Widths(found["visual_dim"], fusion.memory_dim, decoder.state_dim)
    objectives = {
        name: construct("objective", name, found["objectives"].get(name, {}), widths, vocab)
        for name in recipe.objectives
    }
    for name in [name for name, objective in objectives.items() if objective.state_dict()]:
        if not any(each.startswith(f"objectives/{name}/") for each in renamed):
            del objectives[name]
    parts = nn.ModuleDict({"fusion": fusion, "decoder": decoder, "objectives": nn.ModuleDict(objectives)})
    wanted = parts.state_dict()
    values = {name.replace("/", "."): value for name, value in renamed.items()}
    wrong = {
        "missing": wanted.keys() - values.keys(),
        "without a place": values.keys() - wanted.keys(),
        "of another shape": {
            name for name in wanted.keys() & values.keys() if wanted[name].shape != values[name].shape
        },
    }
    if told := "; ".join(f"{what}: {', '.join(sorted(entries)[:3])}" for what, entries in wrong.items() if entries):
        raise ValueError(f"the state does not fit {method!r} with these settings; {told}")
    parts.load_state_dict(values)
    parts.eval()
    return fusion, decoder, objectives


def settings_of(method: str, state: State, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Give the settings of our parts: those that the shapes of a state say, and above them those that are given.

    Args:
        method: one of `methods()`.
        state: as `load_published` takes it.
        settings: likewise.

    Returns:
        `visual_dim`, and the settings of `fusion`, `decoder` and `objectives`; `vocab` if it is given.

    Raises:
        ValueError: there is no such method, the state is not one of it, or settings are of other parts.
    """
    recipe, given = method_of(method), dict(settings or {})
    if unknown := given.keys() - {"fusion", "decoder", "objectives", "vocab"}:
        raise ValueError(f"unknown settings {sorted(unknown)}; expected fusion, decoder, objectives, vocab")
    renamed = rename(method, state)
    try:
        found = dict(recipe.found(state))
        renamed["decoder/embedding.weight"]
    except KeyError as error:
        raise ValueError(f"the state is no {method!r}: it lacks {error.args[0]!r}") from error
    for part in ("fusion", "decoder"):
        found[part] = {**found.get(part, {}), **given.get(part, {})}
    shapes, asked = found.get("objectives", {}), given.get("objectives", {})
    found["objectives"] = {name: {**shapes.get(name, {}), **asked.get(name, {})} for name in recipe.objectives}
    return found | ({"vocab": given["vocab"]} if given.get("vocab") else {})


def rename(method: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors of a method, such as weights or their gradients, under our names instead of the published ones.

    Raises:
        ValueError: a name is none of this method.
    """
    rules = [
        (re.compile(re.escape(theirs).replace(r"\*", r"(\d+)")), ours)
        for theirs, ours in method_of(method).names.items()
    ]
    renamed, unused = {}, tuple(method_of(method).unused(state))
    for name, value in sorted(state.items(), key=lambda each: (len(each[0]), each[0])):  # layer 10 comes after layer 9
        if name.startswith(unused):
            continue
        matches = [(rule.match(name), ours) for rule, ours in rules]
        fitting = [(match, ours) for match, ours in matches if match]
        if not fitting:
            raise ValueError(f"{name!r} is no parameter of {method!r} as published")
        match, ours = max(fitting, key=lambda each: each[0].end())  # the longest beginning
        if ours is not None:
            numbers = iter(match.groups())
            renamed[re.sub(r"\*", lambda _: next(numbers), ours) + name[match.end() :]] = value  # noqa: B023
    return renamed


def _tokens(recipe: Method, embedding: Tensor) -> PublishedTokens:
    size = len(embedding)
    return PublishedTokens(size, *(index % size for index in (recipe.pad, recipe.start, recipe.end)))
