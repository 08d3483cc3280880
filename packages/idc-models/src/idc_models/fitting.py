"""Weights and the model of a spec: built and loaded, where they fit each other, before memory is taken."""

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
    """Build a model and load its weights; every name and every shape has to match.

    Both are compared before any memory is taken: what a damaged spec asks for may be more than there is.

    Args:
        spec: the model.
        vocab: the tokens that it speaks.
        objectives: name -> weight, or name -> {weight, settings}; None for a model that is not trained.
        weights: the model's `state_dict`; half precision becomes the model's own.
        frozen: those of its weights that a checkpoint only names, by part.

    Raises:
        ValueError: the weights are not those of such a model; or those that are named cannot be had, or have changed.
    """
    named = {f"{name}.{key}" for name, part in frozen.items() for key in part.sha256}
    shapes = _shapes(spec, vocab, objectives, most=2 * (len(weights) + len(named)) + 100)
    if shapes is not None:
        shapes = {name: shape for name, shape in shapes.items() if name not in named}
    if shapes is not None and (faults := misfits(shapes, weights)):
        raise ValueError(f"the weights do not fit the spec that they came with: {'; '.join(faults)}")
    # A mask of -inf among the buffers is no fault.
    if broken := [name for name, value in weights.items() if value.isnan().any()]:
        raise ValueError(
            f"{broken[0]}, one of {len(broken)} weights that hold NaN, makes the model useless: its training diverged, "
            "or the file is damaged; take an earlier checkpoint, or train again"
        )
    try:
        model = build_captioner(spec, vocab, objectives, pretrained=False)
        model.load_weights(weights, frozen)
    except (RuntimeError, MemoryError) as error:
        raise ValueError(f"the weights do not fit the spec that they came with: {error}") from error
    return model


def _shapes(
    spec: ModelSpec, vocab: "TokenSpace", objectives: Mapping[str, float | Mapping[str, Any]] | None, most: int
) -> dict[str, torch.Size] | None:
    """The shapes of the weights that a spec asks for; None of a plugin that cannot be built without memory."""
    try:
        with torch.device("meta"), _Unfilled(), _at_most(most):
            model = build_captioner(spec, vocab, objectives, pretrained=False)
    except (RuntimeError, NotImplementedError):
        return None
    return {name: value.shape for name, value in model.state_dict().items()}


class _Unfilled(TorchFunctionMode):
    """Draws no normal numbers: for tensors without memory that imports torch._dynamo, which takes seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if getattr(func, "__name__", "") == "normal_":  # of nn.init, or of the tensor
            return args[0] if args else given["tensor"]
        return func(*args, **given)


@contextmanager
def _at_most(most: int) -> Iterator[None]:
    """Refuse modules of more parameters: a million layers take hours and all memory, even without weights."""
    num = 0

    def count(*_: object) -> None:
        nonlocal num
        num += 1
        if num > most:
            raise ValueError(f"the spec asks for more than {most} weights, far more than the file holds")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def misfits(shapes: Mapping[str, torch.Size], weights: Mapping[str, Tensor]) -> list[str]:
    """Say how weights differ from what a spec asks for: missing, left over, of another shape."""
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
