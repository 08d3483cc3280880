"""Protocols by name: which pairs of a data set are scored, against which references, with which tokenizer.

Scores compare only within one protocol. CIDEr's word weights (IDF) come from the references of the scored pairs, as in
pycocoevalcap and the literature, so they differ between a subset and the whole.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from idc_eval.captions import Captions, tokenized
from idc_eval.prediction import Prediction
from idc_eval.ptb import TOKENIZER
from idc_eval.scripts import CHARACTERS, split_characters
from idc_eval.wording import did_you_mean

RARE = 5
"""Words with at most this many occurrences in the references become `<unk>` under `levir-cc/ids-compat`."""

CHARACTERS_PROTOCOL = "plain/characters"
_TOKENIZERS = {"ptb": TOKENIZER, "characters": CHARACTERS, "ids": "white space, lower case, words replaced by numbers"}


@dataclass(frozen=True)
class Protocol:
    """Which pairs are scored, and how.

    Attributes:
        name: Name in specs and on the command line.
        about: Description in one line.
        subset: The pairs that are scored.
        references: The references a hypothesis is compared with.
        words: How captions are tokenised: `ptb`; `characters` for scripts without spaces between words, such as
            Chinese; or `ids`, as in published work that scores word ids.
        by_type: Whether the caption metrics are computed for each change type on its own, with its own IDF.
        published: Number of pairs of the published test split under this protocol; 0 if unknown.
        source: Publications that score like this.
    """

    name: str
    about: str
    subset: Literal["all", "changed", "unchanged"] = "all"
    references: Literal["each", "joined"] = "each"
    words: Literal["ptb", "characters", "ids"] = "ptb"
    by_type: bool = False
    published: int = 0
    source: str = ""

    def chosen(self, predictions: Sequence[Prediction]) -> list[int]:
        """Return the indices of the predictions that are scored.

        Raises:
            ValueError: The predictions lack a field that the protocol needs, or none is scored.
        """
        if self.by_type:
            untyped = [p.id for p in predictions if p.changed and not p.change_type]
            if untyped:
                raise ValueError(f"protocol {self.name} needs `change_type`, which pair {untyped[0]!r} lacks; add it")
        if self.subset == "all":
            return list(range(len(predictions)))
        unknown = [p.id for p in predictions if p.changed is None]
        if unknown:
            raise ValueError(
                f"protocol {self.name} needs `changed`, which {len(unknown):,} predictions lack, such as "
                f"{unknown[0]!r}; add true or false to each"
            )
        kept = [row for row, p in enumerate(predictions) if p.changed == (self.subset == "changed")]
        if not kept:
            raise ValueError(
                f"protocol {self.name} scores only {self.subset} pairs, and there are none among the predictions"
            )
        return kept

    def captions(self, predictions: Sequence[Prediction]) -> Captions:
        """Tokenise hypotheses and references as this protocol compares them."""
        if self.words == "ids":
            return _as_ids(predictions)
        if self.references == "joined":
            predictions = [p.model_copy(update={"references": [_paragraph(p.references)]}) for p in predictions]
        if self.words == "characters":
            return _split(predictions, split_characters)
        return tokenized(predictions)

    def record(self) -> dict[str, Any]:
        """Describe the protocol for a file of results."""
        return {
            **asdict(self),
            "tokenizer": _TOKENIZERS[self.words],
            "cider_idf": "the references of the scored pairs" + (", each type on its own" if self.by_type else ""),
        }


def _three(dataset: str, about: str, published: int, source: str) -> list[Protocol]:
    half = published // 2
    return [
        Protocol(f"{dataset}/total", f"{about}: changed pairs and distractors", published=published, source=source),
        Protocol(f"{dataset}/semantic", f"{about}: changed pairs only", "changed", published=half, source=source),
        Protocol(f"{dataset}/distractor", f"{about}: distractors only", "unchanged", published=half, source=source),
        Protocol(
            f"{dataset}/by-type",
            f"{about}: changed pairs, and each change type on its own",
            "changed",
            by_type=True,
            published=half,
            source=source,
        ),
    ]


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in [
        Protocol("plain", "all pairs, each with all its references"),
        Protocol(
            CHARACTERS_PROTOCOL,
            "like plain, for scripts without spaces between words: Chinese, Japanese, Thai and the like are scored by "
            "character, other scripts by word; METEOR sees no stems, synonyms or paraphrases",
            words="characters",
        ),
        *_three("scenes", "procedural scenes", 0, "this project"),
        *_three("clevr-change", "CLEVR-Change", 7_970, "Park et al., ICCV 2019; Tu et al. (SCORER), ICCV 2023"),
        Protocol("clevr-dc", "CLEVR-DC, all pairs", published=4_800, source="Kim et al., ICCV 2021"),
        Protocol(
            "spot/single",
            "Spot-the-Diff, one sentence a pair: each sentence of the pair is a reference",
            published=1_270,
            source="Jhamtani and Berg-Kirkpatrick, EMNLP 2018",
        ),
        Protocol(
            "spot/multi",
            "Spot-the-Diff, all differences: one reference, the pair's sentences joined",
            references="joined",
            published=1_270,
            source="Tu et al. (CARD), ACL 2024",
        ),
        Protocol("ier", "Image-Editing-Request, all pairs", published=495, source="Tan et al., ACL 2019"),
        Protocol("birds", "Birds-to-Words, all pairs", published=337, source="Forbes et al., EMNLP 2019"),
        Protocol("levir-cc/words", "LEVIR-CC, captions as words", published=1_929, source="Liu et al., TGRS 2022"),
        Protocol(
            "levir-cc/ids-compat",
            f"LEVIR-CC, word ids instead of words and <unk> for words seen {RARE} times or less: METEOR sees neither "
            "stems nor synonyms. For comparison with published numbers only; they take the words of all splits, this "
            "those of the file's references",
            words="ids",
            published=1_929,
            source="Liu et al. (RSICCformer), TGRS 2022, get_eval_score",
        ),
    ]
}
"""All protocols by name. Add a new one here."""


def find_protocol(name: str) -> Protocol:
    """Look up a protocol; `plain/NAME` is `plain` under your own name.

    Raises:
        ValueError: The name is unknown; the message has the nearest one.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    family, slash, own = name.rpartition("/")
    if family in ("plain", CHARACTERS_PROTOCOL) and slash and own:
        return replace(PROTOCOLS[family], name=name, about=f"{own}: {PROTOCOLS[family].about}")
    hint = f"{did_you_mean(name, PROTOCOLS, cutoff=0.4)} Available: ".lstrip()
    raise ValueError(f"unknown protocol {name!r}; {hint}{', '.join(PROTOCOLS)}; and plain/NAME for your own data")


def same_protocol(first: str, second: str) -> None:
    """Refuse to compare across protocols.

    Raises:
        ValueError: The protocols differ.
    """
    if first != second:
        raise ValueError(
            f"the first was scored under protocol {first}, the second under {second}: their values do not compare; "
            "score both under the same protocol"
        )


def _paragraph(references: Sequence[str]) -> str:
    return ". ".join(reference.strip().rstrip(".") for reference in references if reference.strip())


def _as_ids(predictions: Sequence[Prediction]) -> Captions:
    counts = Counter(word for p in predictions for reference in p.references for word in _by_blanks(reference))
    known = sorted(word for word, times in counts.items() if times > RARE)
    ids = {word: str(number) for number, word in enumerate(known, start=1)}

    def spelled(caption: str) -> str:
        return " ".join(ids.get(word, "0") for word in _by_blanks(caption))

    return _split(predictions, spelled)


def _split(predictions: Sequence[Prediction], words: Callable[[str], str]) -> Captions:
    return Captions([words(p.hypothesis) for p in predictions], [[*map(words, p.references)] for p in predictions])


def _by_blanks(caption: str) -> list[str]:
    return re.findall(r"[^\s.,;?!]+", caption.lower())
