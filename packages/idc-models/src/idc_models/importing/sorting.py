"""Identifies the modules of a published method by the names of their parameters."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from idc_models.importing.files import Groups
from idc_models.zoo import method_of

_RESNET = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


def modules_of(method: str) -> dict[str, re.Pattern[str]]:
    """Return the modules of a published method, each with a pattern of its parameter names."""
    rules: dict[str, list[str]] = {}
    for name in method_of(method).names:
        module, _, start = name.partition("/")
        rules.setdefault(module, []).append(re.escape(start).replace(r"\*", r"\d+"))
    return {module: re.compile("|".join(starts)) for module, starts in rules.items()}


def sort_groups(method: str, groups: Groups, only: str | None = None) -> tuple[dict[str, dict[str, Tensor]], Groups]:
    """Find the module of each group.

    Args:
        method: A published method.
        groups: The groups of a file.
        only: The module that they belong to, if known.

    Returns:
        The tensors of each module, and the groups that do not belong to the method.

    Raises:
        ValueError: There is no such module, or two groups are the same module.
    """
    modules = modules_of(method)
    if only is not None and only not in modules:
        raise ValueError(f"{method!r} has no part {only!r}; expected one of {', '.join(modules)}, or image")
    known = modules if only is None else {only: modules[only]}
    placed: dict[str, dict[str, Tensor]] = {}
    origins: dict[str, str] = {}
    others: Groups = {}
    for where, tensors in groups.items():
        for module, label, found in _sorted(known, where, _bare(tensors)):
            if module is None:
                others[label] = found
            elif module in placed:
                both = f"{origins[module] or 'the top of the file'} and {label or 'the top of the file'}"
                raise ValueError(
                    f"both {both} hold module {module!r} of {method!r}; give only one of them: --part {module}=FILE"
                )
            else:
                placed[module], origins[module] = found, label
    return placed, others


def _sorted(
    modules: Mapping[str, re.Pattern[str]], where: str, tensors: dict[str, Tensor]
) -> Iterable[tuple[str | None, str, dict[str, Tensor]]]:
    fitting = [module for module, names in modules.items() if all(map(names.match, tensors))]
    if fitting:
        named = [module for module in fitting if module in where.rpartition("/")[2]]
        yield (named or fitting)[0], where, tensors
        return
    inner: Groups = {}
    for name, value in tensors.items():
        first, *rest = re.split("[/.]", name, maxsplit=1)
        inner.setdefault(first, {})["".join(rest)] = value
    parts = [
        each
        for first, held in inner.items()
        if "" not in held
        for each in _sorted(modules, f"{where}/{first}".removeprefix("/"), _bare(held))
    ]
    if any(module for module, _, _ in parts):
        yield from parts
    else:
        yield None, where, tensors


def _bare(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove the prefix that DataParallel adds to all names."""
    while tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return dict(tensors)


def as_backbone(tensors: Mapping[str, Tensor], wanted: Iterable[str]) -> dict[str, Tensor] | None:
    """Return the weights of an image encoder under our names, without unused ones; None if they do not fit.

    Args:
        tensors: Weights of a ResNet named as in torchvision or by the index of its children, or of our encoder.
        wanted: Our names.
    """
    wanted = set(wanted)
    for drop in (0, 1, 2):
        for start in ("", "backbone."):
            for renumber in (False, True):
                named = {}
                for name, value in _bare(tensors).items():
                    parts = name.split(".")[drop:]
                    if renumber and parts:
                        parts[0] = _RESNET.get(parts[0], parts[0])
                    named[start + ".".join(parts)] = value
                if wanted and wanted <= named.keys():
                    return {name: named[name] for name in wanted}
    return None
