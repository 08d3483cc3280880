"""Where a run comes from: code, data, packages, machine; and how two runs differ in them."""

import hashlib
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import distributions, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from idc_models.registry import find
from torch import Tensor

from idc_run.spec import Spec

_OURS = ("idc_data", "idc_eval", "idc_models", "idc_run")


def collect(spec: Spec, datasets: Mapping[str, str], device: torch.device) -> dict[str, Any]:
    """Write down everything but the spec that may make a repeated run another one.

    Args:
        spec: Whose plugins and weight files are meant.
        datasets: The identity of each split.
        device: What is trained on.
    """
    packages = {*_OURS, *(find(kind, part.name).__module__.partition(".")[0] for kind, part in spec.model)}
    files = {Path(part.settings["weights"]) for _, part in spec.model if part.settings.get("weights")}
    weights = {str(file): hashlib.sha256(file.read_bytes()).hexdigest()[:12] for file in files if file.is_file()}
    processor = torch.backends.cpu.get_cpu_capability()
    return {
        "code": _git() | {f"sources of {name}": _sources(name) for name in sorted(packages)},
        "data": dict(datasets) | weights,
        "plugins": {kind: _owner(kind, part.name) for kind, part in spec.model},
        "packages": {dist.name: dist.version for dist in sorted(distributions(), key=lambda dist: dist.name.lower())},
        "machine": {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor,
            "threads": torch.get_num_threads(),
        },
    }


def tags(spec: Spec, origin: Mapping[str, Any]) -> dict[str, str]:
    """What runs are filtered and grouped by in the MLflow UI; runs that differ in the seed alone are one `group`."""
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
    """The identity of weights, equal for two runs only if they agree bit for bit."""
    hashed = hashlib.sha256()
    for name in sorted(weights):
        hashed.update(name.encode())
        hashed.update(weights[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return {"sha256": hashed.hexdigest()}


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[str]]:
    """Say in which of code, data, packages, plugins and machine two runs differ: `part: [what was -> what is]`."""
    found = {}
    for part in now:
        old, new = then.get(part, {}), now[part]
        names = sorted({*old, *new}, key=str.lower)
        pairs = {name: (old.get(name, "none"), new.get(name, "none")) for name in names}
        if told := [f"{name} {was} -> {is_now}" for name, (was, is_now) in pairs.items() if was != is_now]:
            found[part] = told
    return found


def _git() -> dict[str, str]:
    """Commit, and whether tracked files were changed; of code that lies in a repository."""
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


def _sources(package: str) -> str:
    """Identity of the Python files of a package; of a module in no package, of its file."""
    found = find_spec(package)
    origin = Path(found.origin) if found and found.origin else None
    if origin is None:
        return "none"
    files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    hashed = hashlib.sha256()
    for file in files:
        hashed.update(file.relative_to(origin.parent).as_posix().encode() + file.read_bytes())
    return hashed.hexdigest()[:12]


def _owner(kind: str, name: str) -> str:
    owners = [entry.dist for entry in entry_points(group=f"idc.{kind}s", name=name) if entry.dist]
    return f"{name} ({', '.join(f'{dist.name} {dist.version}' for dist in owners) or 'local'})"
