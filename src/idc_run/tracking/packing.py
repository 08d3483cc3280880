"""The contents of a registered model: the code it runs on, and the versions of everything else.

idc-models, idc-data (which reads the images) and the distributions of plugins may not be on any package index, so the
model holds their files, including metadata. MLflow puts them on the path, where entry points find them as if installed.
"""

import ast
import json
import shutil
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution, packages_distributions
from importlib.util import find_spec
from pathlib import Path

from idc_data.installed import entries
from idc_models.registry import find
from idc_models.spec import ModelSpec
from packaging.requirements import Requirement

_METADATA = ("METADATA", "WHEEL", "entry_points.txt")
"""The metadata files to copy; others describe the machine and the installation."""

_EXTRAS = {"idc-models": ("align", "serve")}
"""Extras that a served model uses if they are installed."""


def pack(spec: ModelSpec, folder: Path, tokenizer: str = "words") -> list[str]:
    """Copy the code that a model runs on into a folder for Python's path.

    Args:
        spec: The model.
        folder: The target folder for packages, modules and metadata.
        tokenizer: The name of its tokenizer.

    Returns:
        The copied distributions; copied modules without a distribution are not listed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    carried = {"idc-data", "idc-models"}
    for kind, name in _named(spec, tokenizer):
        if top := _top(name):
            owners = packages_distributions().get(top, [])
            carried |= set(owners)
            if not owners:
                _copy_module(top, folder)
        for entry in entries(f"idc.{kind}s"):
            if entry.name == name and entry.dist:
                carried.add(entry.dist.name)
    for name in sorted(carried):
        _copy_distribution(distribution(name), folder)
    return sorted(carried)


def imported(spec: ModelSpec, tokenizer: str = "words") -> set[str]:
    """Find the distributions that a model needs but no requirement names.

    These are the libraries of its parts that belong to extras, and those imported by modules without a distribution.

    Args:
        spec: The model.
        tokenizer: The name of its tokenizer.
    """
    listed = {
        library
        for kind, part in spec
        for library in getattr(find(kind, part.name), "libraries", ())
        if _installed(library)
    }
    tops = {top for _, name in _named(spec, tokenizer) if (top := _top(name))}
    if not tops:
        return listed
    owners = packages_distributions()
    files = [file for top in tops - owners.keys() for file in _files(top)]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    found = {owner for name in names for owner in owners.get(name.partition(".")[0], [])}
    return listed | {name for owner in found if not (name := owner.lower().replace("_", "-")).startswith("idc-")}


def requirements(carried: Iterable[str], *others: str) -> tuple[list[str], list[str]]:
    """Pin the requirements of distributions to the installed versions.

    Args:
        carried: Distributions whose code the model holds; they are not listed themselves.
        *others: Further required distributions.

    Returns:
        Pins of the direct requirements, and constraints: pins of all transitive requirements.
    """
    carried = set(carried)
    direct = {need for name in carried for need in _needs(name, _EXTRAS.get(name, ()))} - carried
    direct |= set(others)
    found, waiting = set(), set(direct)
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= _needs(name) - found - carried
    return [_pin(name) for name in sorted(direct)], [_pin(name) for name in sorted(found)]


def _named(spec: ModelSpec, tokenizer: str) -> list[tuple[str, str]]:
    return [*((kind, part.name) for kind, part in spec), ("tokenizer", tokenizer)]


def _top(name: str) -> str:
    """Return the package of `package.module:Class`, or an empty string for a registered name."""
    return name.partition(".")[0].partition(":")[0] if ":" in name else ""


def _files(top: str) -> list[Path]:
    """Return the source files of a module or package."""
    found = find_spec(top)
    if found is None or not found.origin and not found.submodule_search_locations:
        return []
    folders = found.submodule_search_locations or ()
    return [file for folder in folders for file in Path(folder).rglob("*.py")] or [Path(str(found.origin))]


def _copy_distribution(found: Distribution, folder: Path) -> None:
    for file in found.files or ():
        metadata = file.parts[0].endswith(".dist-info")
        kept = file.name in _METADATA if metadata else file.suffix not in (".pth", ".pyc") and ".." not in file.parts
        if kept and not _is_shipped(Path(file).parent) and (source := Path(str(file.locate()))).is_file():
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        # Its files are elsewhere, in the packages of its entry points.
        for top in sorted({entry.module.partition(".")[0] for entry in found.entry_points}):
            _copy_module(top, folder)


def _copy_module(top: str, folder: Path) -> None:
    found = find_spec(top)
    if found is None or not (found.submodule_search_locations or found.origin):
        raise ValueError(f"the code of {top!r} cannot be found, but the served model needs it")
    if found.submodule_search_locations:
        for location in found.submodule_search_locations:
            shutil.copytree(location, folder / top, ignore=_ignored, dirs_exist_ok=True)
    elif found.origin:
        shutil.copyfile(found.origin, folder / Path(found.origin).name)


def _ignored(folder: str, names: list[str]) -> set[str]:
    shipped = {name for name in names if _is_shipped(Path(folder, name))}
    return shutil.ignore_patterns("__pycache__", "*.pyc")(folder, names) | shipped


def _is_shipped(folder: Path) -> bool:
    """Return whether this is the folder of shipped models, which a served model does not need."""
    return folder.parts[-2:] == ("idc_models", "shipped")


def _needs(name: str, extras: tuple[str, ...] = ()) -> set[str]:
    """Return the installed requirements of a distribution."""
    listed = [Requirement(line) for line in distribution(name).requires or ()]
    wanted = {
        each.name.lower().replace("_", "-")
        for each in listed
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    }
    return {need for need in wanted if _installed(need)}


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _pin(name: str) -> str:
    # Drop the local version (+cpu, +cu130), which package indexes do not have.
    return f"{name}=={distribution(name).version.partition('+')[0]}"
