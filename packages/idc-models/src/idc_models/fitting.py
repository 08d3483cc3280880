"""Builds a model and loads its weights, after checking their shapes without allocating memory."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from idc_models.captioner import Captioner
from idc_models.frozen import Frozen
from idc_models.spec import ModelSpec, build_captioner

if TYPE_CHECKING:
    from idc_models.contract import TokenSpace


def build_trained(
    spec: ModelSpec,
    vocab: "TokenSpace",
    objectives: Mapping[str, float | Mapping[str, Any]] | None,
    weights: Mapping[str, Tensor],
    frozen: Mapping[str, Frozen] = MappingProxyType({}),
) -> Captioner:
    """Build a model and load its weights; every name and every shape must match.

    They are compared before memory is allocated, because a damaged spec may ask for more than there is.

    Args:
        spec: The model.
        vocab: Its tokens.
        objectives: Name -> weight, or name -> {weight, settings}; None for a model that is not trained.
        weights: The model's `state_dict`; half precision is converted to the model's precision.
        frozen: Weights that a checkpoint only refers to, by part.

    Raises:
        ValueError: The weights do not fit the model, or frozen weights cannot be loaded or have changed.
    """
    named = {f"{name}.{key}" for name, part in frozen.items() for key in part.sha256}
    shapes = _shapes(spec, vocab, objectives, most=2 * (len(weights) + len(named)) + 100)
    if shapes is not None:
        shapes = {name: shape for name, shape in shapes.items() if name not in named}
    if shapes is not None and (faults := misfits(shapes, weights)):
        raise ValueError(f"the weights do not fit the spec: {'; '.join(faults)}")
    # Only NaN: a buffer may hold a mask of -inf.
    if broken := [name for name, value in weights.items() if value.isnan().any()]:
        raise ValueError(
            f"{broken[0]}, one of {len(broken)} weights that contain NaN, makes the model useless: its training "
            "diverged, or the file is damaged; use an earlier checkpoint, or train again"
        )
    try:
        model = build_captioner(spec, vocab, objectives, pretrained=False)
        model.load_weights(weights, frozen)
    except (RuntimeError, MemoryError) as error:
        raise ValueError(f"the weights do not fit the spec: {error}") from error
    return model


def _shapes(
    spec: ModelSpec, vocab: "TokenSpace", objectives: Mapping[str, float | Mapping[str, Any]] | None, most: int
) -> dict[str, torch.Size] | None:
    """Return the shapes of a spec's weights; None if a plugin cannot be built on the meta device."""
    try:
        with torch.device("meta"), _Unfilled(), _at_most(most):
            model = build_captioner(spec, vocab, objectives, pretrained=False)
    except (RuntimeError, NotImplementedError):
        return None
    return {name: value.shape for name, value in model.state_dict().items()}


class _Unfilled(TorchFunctionMode):
    """Skips `normal_`, which for tensors on the meta device imports torch._dynamo and so takes seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if getattr(func, "__name__", "") == "normal_":  # of nn.init, or of the tensor
            return args[0] if args else given["tensor"]
        return func(*args, **given)


@contextmanager
def _at_most(most: int) -> Iterator[None]:
    """Limit the number of parameter tensors: a million layers take hours and all memory, even on the meta device."""
    num = 0

    def count(*_: object) -> None:
        nonlocal num
        num += 1
        if num > most:
            raise ValueError(f"the spec needs more than {most} weights, far more than the file holds")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def misfits(shapes: Mapping[str, torch.Size], weights: Mapping[str, Tensor]) -> list[str]:
    """Describe how weights differ from those of a spec: missing, unknown, or of another shape."""
    other = [name for name in shapes.keys() & weights.keys() if shapes[name] != weights[name].shape]
    found = {
        "missing": shapes.keys() - weights.keys(),
        "unknown": weights.keys() - shapes.keys(),
        "of another shape": {f"{name} {list(weights[name].shape)} for {list(shapes[name])}" for name in other},
    }
    return [
        f"{len(names)} {fault}, such as {min(names)}" if len(names) > 1 else f"{fault} {min(names)}"
        for fault, names in found.items()
        if names
    ]
