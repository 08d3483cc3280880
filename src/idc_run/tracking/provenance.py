"""The provenance of a run (code, data, packages, machine), and differences between two runs."""

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import distributions, packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from idc_data.installed import entries
from idc_data.readers import resolve_reader
from idc_data.tokenizers import resolve_tokenizer
from idc_models.loading import find_checkpoint
from idc_models.registry import find
from torch import Tensor

from idc_run.spec import Spec

_OURS = ("idc_data", "idc_eval", "idc_models", "idc_run")


def collect(spec: Spec, datasets: Mapping[str, str], device: torch.device) -> dict[str, Any]:
    """Collect everything other than the spec that may affect the result of a run.

    Args:
        spec: The spec, with its plugins, objectives, reader and weight files.
        datasets: The identity of each split.
        device: The device of the training.
    """
    reader, tokenizer = resolve_reader(spec.data.dataset)[0], resolve_tokenizer(spec.data.tokenizer)[0]
    named = [
        *((kind, part.name) for kind, part in spec.model),
        *(("objective", name) for name in spec.train.objectives),
    ]
    packages = {*_OURS, _package(reader), _package(tokenizer), *(_package(find(kind, name)) for kind, name in named)}
    files = {Path(part.settings["weights"]) for _, part in spec.model if part.settings.get("weights")}
    weights = {str(file): _file_digest(file) for file in files if file.is_file()} | _start(spec)
    processor = torch.backends.cpu.get_cpu_capability()
    return {
        "code": code_state() | {f"sources of {name}": _sources(name) for name in sorted(packages)},
        "data": dict(datasets) | weights,
        "plugins": {
            **{kind: _owner(kind, part.name) for kind, part in spec.model},
            "objectives": ", ".join(_owner("objective", name) for name in sorted(spec.train.objectives)),
            "tokenizer": f"{spec.completed()['data']['tokenizer']['name']} ({_brought_by(_package(tokenizer))})",
            "dataset": f"{spec.completed()['data']['dataset']['name']} ({_brought_by(_package(reader))})",
        },
        "packages": {dist.name: dist.version for dist in sorted(distributions(), key=lambda dist: dist.name.lower())},
        "machine": {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor,
            "threads": torch.get_num_threads(),
            "processes": int(os.environ.get("WORLD_SIZE", "1")),  # torchrun's
        },
    }


def _start(spec: Spec) -> dict[str, str]:
    """Return the digest of the starting checkpoint, because an alias may point to another version later."""
    if spec.train.start is None:
        return {}
    try:
        return {spec.train.start.checkpoint: _file_digest(find_checkpoint(spec.train.start.checkpoint))}
    except ValueError:  # a resumed run does not need it any more
        return {}


def _file_digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def tags(spec: Spec, origin: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags for filtering and grouping runs; runs that differ only in the seed share a `group`."""
    group = spec.model_copy(update={"seed": 0}).fingerprint()
    return {
        "spec": spec.fingerprint(),
        "group": f"{spec.name}-{group[:6]}",
        "seed": str(spec.seed),
        "protocol": spec.eval.protocol,
        "dataset": f"{spec.completed()['data']['dataset']['name']} {origin['data']['test']}",
        "git.commit": origin["code"]["commit"],
        "git.dirty": origin["code"]["dirty"],
        **{f"plugin.{kind}": owner for kind, owner in origin["plugins"].items()},
    }


def digest(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Return a hash of weights, equal only if they are equal bit for bit."""
    hashed = hashlib.sha256()
    for name in sorted(weights):
        hashed.update(name.encode())
        hashed.update(weights[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return {"sha256": hashed.hexdigest()}


def resumed_at(step: int) -> str:
    """Return the name of the provenance document of a resumption at a step."""
    return f"resumed-{step}"


def resumptions(names: Iterable[str]) -> list[int]:
    """Return the steps at which a run was resumed, from the names of its files."""
    return sorted(int(found[1]) for name in names if (found := re.fullmatch(r"resumed-(\d+)\.json", name)))


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[str]]:
    """Compare two provenances; return `{part: [name old -> new]}` for the parts that differ."""
    found = {}
    for part in now:
        old, new = then.get(part, {}), now[part]
        if part == "plugins" and old and "tokenizer" not in old:  # older runs do not record it: there was only one
            words = new.get("tokenizer", "").startswith("words (")
            old = {**old, "tokenizer": new["tokenizer"] if words else "words"}
        names = sorted({*old, *new}, key=str.lower)
        pairs = {name: (old.get(name, "none"), new.get(name, "none")) for name in names}
        if told := [f"{name} {was} -> {is_now}" for name, (was, is_now) in pairs.items() if was != is_now]:
            found[part] = told
    return found


def code_state() -> dict[str, str]:
    """Return the commit and whether tracked files are modified, if the code is in a repository."""
    here = Path(__file__)

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here.parent), *words], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    if git("ls-files", "--error-unmatch", here.name) is None:  # installed, perhaps inside another project
        return {"commit": "none", "dirty": "unknown"}
    return {
        "commit": git("rev-parse", "HEAD") or "none",
        "dirty": "true" if git("status", "--porcelain", "--untracked-files=no") else "false",
    }


def _package(part: type) -> str:
    return part.__module__.partition(".")[0]


def _sources(package: str) -> str:
    """Return a hash of the Python files of a package or module."""
    found = find_spec(package)
    if found is None:
        return "none"
    if found.submodule_search_locations is None:
        files = [(path.name, path) for path in map(Path, [found.origin] if found.origin else []) if path.is_file()]
    else:  # more than one folder, or none with an __init__.py: a namespace package
        folders = [Path(folder) for folder in found.submodule_search_locations]
        files = [(path.relative_to(top).as_posix(), path) for top in folders for path in sorted(top.rglob("*.py"))]
    hashed = hashlib.sha256()
    for name, path in files:
        hashed.update(name.encode() + path.read_bytes())
    return hashed.hexdigest()[:12] if files else "none"


def _owner(kind: str, name: str) -> str:
    owners = [entry.dist for entry in entries(f"idc.{kind}s") if entry.name == name and entry.dist]
    told = ", ".join(f"{dist.name} {dist.version}" for dist in owners)
    return f"{name} ({told or _brought_by(_package(find(kind, name)))})"


def _brought_by(package: str) -> str:
    """Return the distributions of a package with their versions; `local` if there is none."""
    names = set(packages_distributions().get(package, ()))
    # An editable installation lists no files, but may name its package in its entry points.
    owners = [
        f"{dist.name} {dist.version}"
        for dist in distributions()
        if dist.name in names or any(entry.module.partition(".")[0] == package for entry in dist.entry_points)
    ]
    return ", ".join(sorted(set(owners))) or "local"
