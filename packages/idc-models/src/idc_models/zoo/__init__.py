"""The zoo: published methods, one file each, with a mapping from the published parameter names to ours.

`load_published` builds our parts from a published state; tests/models/zoo compares their outputs.
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
    """A published method: its parts, its objectives, and how its published weights are named here."""

    fusion: str
    decoder: str
    objectives: Mapping[str, float]
    """Objectives: name -> published weight."""
    names: Mapping[str, str | None]
    """Prefixes of published names -> prefixes of our names; None for weights that no output depends on. A name is
    MODULE/PARAMETER; ours begin with fusion/, decoder/ or objectives/NAME/. A star stands for a layer number; if only
    the published name has one, the last layer's weights are used."""
    found: Callable[[State], Mapping[str, Any]]
    """Infers settings from the shapes of a state: `visual_dim`, and those of `fusion`, `decoder`, `objectives`."""
    unused: Callable[[State], Sequence[str]] = lambda state: ()
    """Returns prefixes of weights that this state does not use, though other states of the method may."""
    pad: int = 0
    start: int = 2
    end: int = 3
    """Ids of the special tokens; negative ids count from the end of the vocabulary."""
    level: int = -2
    """Level of ResNet-101 that provides the grid."""
    image_size: int | None = None
    """Height and width of the published images in pixels; None means 16 per cell of the published grid."""


@dataclass(frozen=True)
class PublishedTokens:
    """Token ids of a published model whose words are unknown."""

    size: int
    pad_id: int
    bos_id: int
    eos_id: int
    max_length: int = 50

    def decode(self, ids: Sequence[int]) -> str:
        """Return the ids themselves as text, up to the first eos."""
        ids = list(ids)
        ended = ids.index(self.eos_id) if self.eos_id in ids else len(ids)
        return " ".join(map(str, ids[:ended]))


def methods() -> list[str]:
    """List the published methods whose weights can be loaded."""
    return sorted(module.name.replace("_", "-") for module in iter_modules(__path__))


def method_of(name: str) -> Method:
    """Return a method by name.

    Raises:
        ValueError: There is none of this name.
    """
    if name.replace("_", "-") not in methods():
        raise ValueError(f"unknown method {name!r}{suggestion(name, methods())}")
    return import_module(f"{__name__}.{name.replace('-', '_')}").METHOD


def load_published(
    method: str, state: State, settings: Mapping[str, Any] | None = None
) -> tuple[Fusion, Decoder, dict[str, Objective]]:
    """Build our parts from the weights of a published model; in eval mode they compute the same as the published ones.

    Grids are `b gh gw d`, without coordinates; `fusion(before, after).memory` is `b m e`. `decoder(memory, tokens)`
    takes one row of memory per caption; its logits `n l v` at position t predict the token at t + 1. Tokens keep their
    published ids. Objectives return values before the weights in `method_of(method).objectives`.

    Args:
        method: One of `methods()`.
        state: Published tensors by `MODULE/NAME`, such as `detector/embed.0.weight`; each method's file lists them.
        settings: Settings that the shapes do not determine: `fusion`, `decoder` and `objectives` (by name) -> settings
            of our parts, such as {"decoder": {"heads": 8}}, and `vocab`, a token space. The default is the published
            settings, and ids without words.

    Returns:
        The fusion, the decoder, and the objectives by name, all in eval mode. An objective with weights is omitted if
        the state has none of them.

    Raises:
        ValueError: There is no such method or setting, or the state does not fit the method; the message says where.
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
        "unknown": values.keys() - wanted.keys(),
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
    """Return the settings of our parts: those inferred from the shapes of a state, overridden by the given ones.

    Args:
        method: One of `methods()`.
        state: As in `load_published`.
        settings: Likewise.

    Returns:
        `visual_dim`, and the settings of `fusion`, `decoder` and `objectives`; `vocab` if given.

    Raises:
        ValueError: There is no such method, the state does not fit it, or a setting belongs to no part.
    """
    recipe, given = method_of(method), dict(settings or {})
    if unknown := given.keys() - {"fusion", "decoder", "objectives", "vocab"}:
        raise ValueError(f"unknown settings {sorted(unknown)}; expected fusion, decoder, objectives, vocab")
    renamed = rename(method, state)
    try:
        found = dict(recipe.found(state))
        renamed["decoder/embedding.weight"]
    except KeyError as error:
        raise ValueError(f"the state is not one of {method!r}: it lacks {error.args[0]!r}") from error
    for part in ("fusion", "decoder"):
        found[part] = {**found.get(part, {}), **given.get(part, {})}
    shapes, asked = found.get("objectives", {}), given.get("objectives", {})
    found["objectives"] = {name: {**shapes.get(name, {}), **asked.get(name, {})} for name in recipe.objectives}
    return found | ({"vocab": given["vocab"]} if given.get("vocab") else {})


def rename(method: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors of a method, such as weights or their gradients, from the published names to ours.

    Raises:
        ValueError: A name is not one of this method.
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
            raise ValueError(f"{name!r} is not a published parameter of {method!r}")
        match, ours = max(fitting, key=lambda each: each[0].end())  # the longest prefix
        if ours is not None:
            numbers = iter(match.groups())
            renamed[re.sub(r"\*", lambda _: next(numbers), ours) + name[match.end() :]] = value  # noqa: B023
    return renamed


def _tokens(recipe: Method, embedding: Tensor) -> PublishedTokens:
    size = len(embedding)
    return PublishedTokens(size, *(index % size for index in (recipe.pad, recipe.start, recipe.end)))
