"""The contract suite: checks that every plugin must pass, as plain functions that need only torch.

In your own tests, `check_decoder(MyDecoder, dim=32)` raises an AssertionError that names the failed checks. The command
is `idc-models check my-decoder`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from idc_models.registry import find
from idc_models.testing import checks
from idc_models.testing.subjects import (
    DecoderSubject,
    EncoderSubject,
    FusionSubject,
    ObjectiveSubject,
    Subject,
    Vocabulary,
)

__all__ = ["Result", "Vocabulary", "check", "check_decoder", "check_encoder", "check_fusion", "check_objective"]

Check = Callable[[Any], None]

EVERYWHERE: tuple[Check, ...] = (checks.single, checks.gradients, checks.learning, checks.state_dict, checks.meta)
SUITES: dict[str, tuple[type[Subject], tuple[Check, ...]]] = {
    "encoder": (EncoderSubject, (checks.grid_shape, checks.rows, *EVERYWHERE)),
    "fusion": (
        FusionSubject,
        (checks.memory_shape, checks.extras, checks.oblong, checks.order, checks.unchanged, checks.rows, *EVERYWHERE),
    ),
    "decoder": (
        DecoderSubject,
        (
            checks.logits_shape,
            checks.extras,
            checks.causality,
            checks.padding,
            checks.incremental,
            checks.sharing,
            checks.rows,
            *EVERYWHERE,
        ),
    ),
    "objective": (ObjectiveSubject, (checks.scalar, checks.loss_padding, *EVERYWHERE)),
}


@dataclass(frozen=True)
class Result:
    """The result of one check."""

    check: str
    promise: str
    """The rule that was checked, in one sentence."""
    error: str | None = None
    """How the plugin breaks the rule; None if it does not."""


def check(kind: str, name: str, *, fusion: str | None = None, **settings: Any) -> list[Result]:
    """Run the contract suite on an installed plugin, or on `package.module:Class`.

    Args:
        kind: "encoder", "fusion", "decoder" or "objective".
        name: As in `registry.find`.
        fusion: For an objective that reads extras: the fusion that provides them. By default the one that the objective
            names.
        **settings: Settings of the plugin.

    Raises:
        ValueError: There is no such plugin, or `fusion` is given for another kind than an objective.
    """
    if fusion and kind != "objective":
        raise ValueError(f"fusion is {fusion!r}, but {name!r} is a plugin of kind {kind}; only an objective takes one")
    plugin = find(kind, name)
    if kind == "objective":
        fusion = fusion or getattr(plugin, "fusion", None)
    return list(_results(kind, plugin, settings, find("fusion", fusion) if fusion else None))


def check_encoder(plugin: type[nn.Module], **settings: Any) -> None:
    """Assert that an encoder fulfils the contract, on images of 64 px."""
    _require("encoder", plugin, settings)


def check_fusion(plugin: type[nn.Module], **settings: Any) -> None:
    """Assert that a fusion fulfils the contract."""
    _require("fusion", plugin, settings)


def check_decoder(plugin: type[nn.Module], **settings: Any) -> None:
    """Assert that a decoder fulfils the contract."""
    _require("decoder", plugin, settings)


def check_objective(plugin: type[nn.Module], *, fusion: type[nn.Module] | None = None, **settings: Any) -> None:
    """Assert that an objective fulfils the contract; `fusion` provides the extras that it reads."""
    _require("objective", plugin, settings, fusion)


def _require(kind: str, plugin: type[nn.Module], settings: dict[str, Any], *fusion: type[nn.Module] | None) -> None:
    broken = [f"{result.check}: {result.error}" for result in _results(kind, plugin, settings, *fusion) if result.error]
    assert not broken, f"{plugin.__name__} breaks the contract of {kind}s: " + "; ".join(broken)


def _results(
    kind: str, plugin: type[nn.Module], settings: dict[str, Any], fusion: type[nn.Module] | None = None
) -> Iterator[Result]:
    subject, suite = SUITES[kind]
    beside = (fusion,) if fusion else ()
    for each in suite:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            error = _error(each, lambda: subject(plugin, settings, *beside))
        yield Result(each.__name__.replace("_", " "), (each.__doc__ or "").partition("\n")[0], error)


def _error(each: Check, subject: Callable[[], Subject]) -> str | None:
    try:
        each(subject())
    except AssertionError as error:
        return str(error)
    except Exception as error:  # any failure of a plugin is a result; the suite continues
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return None
