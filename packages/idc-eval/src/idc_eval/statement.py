"""Parse captions of procedural scenes: the kind of change, the object that changed, and its new value.

    "the small thing that is left of the red cube turned shiny"
    -> texture of (small; left of (red cube)), new value metal

Wordings: those of this project's procedural scenes and of CLEVR-Change (Park et al., ICCV 2019).
"""

from collections.abc import Mapping
from dataclasses import dataclass

SIZES = {"small": "small", "tiny": "small", "large": "large", "big": "large"}
COLORS = {c: c for c in ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow")} | {"grey": "gray"}
MATERIALS = {"metal": "metal", "metallic": "metal", "shiny": "metal", "rubber": "rubber", "matte": "rubber"}
SHAPES = {"cube": "cube", "block": "cube", "sphere": "sphere", "ball": "sphere", "cylinder": "cylinder"}
ANY_SHAPE = ("object", "thing")

RELATIONS = {
    "left of": "left of",
    "to the left of": "left of",
    "on the left side of": "left of",
    "right of": "right of",
    "to the right of": "right of",
    "on the right side of": "right of",
    "in front of": "in front of",
    "behind": "behind",
}

_BECAME = ("turned", "has turned", "became", "is now", "changed to", "is now made of")
_APPEARED = (
    "appeared",
    "has appeared",
    "was added",
    "has been added",
    "was added to the scene",
    "has been newly placed",
)
_GONE = (
    "is gone",
    "is missing",
    "disappeared",
    "has disappeared",
    "was removed",
    "has been removed",
    "is no longer there",
)
_MOVED = ("moved", "has moved", "was moved", "has been moved", "changed its location", "is in a different location")

SENTENCES = {
    "color": (
        *(f"NP {verb} COLOR" for verb in _BECAME),
        "the color of NP changed to COLOR",
        "someone painted NP COLOR",
        "NP was painted COLOR",
        "someone changed NP to COLOR",
    ),
    "texture": (
        *(f"NP {verb} MATERIAL" for verb in _BECAME),
        "the material of NP changed to MATERIAL",
        "someone changed NP to MATERIAL",
    ),
    "add": (*(f"NP {verb}" for verb in _APPEARED), "there is now NP", "there is NP", "someone added NP"),
    "drop": (*(f"NP {verb}" for verb in _GONE), "someone removed NP", "someone took away NP", "there is no longer NP"),
    "move": (
        *(f"NP {verb}" for verb in _MOVED),
        "NP is in a new place",
        "someone moved NP",
        "the location of NP changed",
        "the position of NP is different",
    ),
    "none": (
        "nothing has changed",
        "nothing changed",
        "nothing was modified",
        "no change was made",
        "no change has occurred",
        "there is no change",
        "there is no difference",
        "the scene is the same as before",
        "the scene remains the same",
        "the two scenes seem identical",
        "the two images show the same scene",
        "everything is as it was",
    ),
}
"""The sentences of each change type; NP is a noun phrase, COLOR and MATERIAL are values."""

_PATTERNS = [(kind, sentence.split()) for kind, sentences in SENTENCES.items() for sentence in sentences]


@dataclass(frozen=True)
class NounPhrase:
    """An object as a caption describes it: attributes (size, color, material, shape) and location."""

    attributes: Mapping[str, str]
    relation: str | None = None
    anchor: "NounPhrase | None" = None


@dataclass(frozen=True)
class Statement:
    """A caption's statement: the change type, the object that changed and, for color and texture, its new value."""

    change_type: str
    thing: NounPhrase | None = None
    value: str | None = None


def read_statement(caption: str) -> Statement | None:
    """Parse a scene caption; synonyms become one word, case and a final full stop are ignored.

    Args:
        caption: Any text.

    Returns:
        The statement, or None if the caption does not follow the grammar.
    """
    words = caption.lower().rstrip(" .\n").split()
    for change_type, pattern in _PATTERNS:
        if statement := _Reader(words).sentence(change_type, pattern):
            return statement
    return None


class _Reader:
    """A recursive-descent parser: each method consumes words from the front, or consumes none and returns None."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._at = 0

    def sentence(self, change_type: str, pattern: list[str]) -> Statement | None:
        thing = value = None
        for part in pattern:
            if part == "NP":
                understood = thing = self.noun_phrase()
            elif part in ("COLOR", "MATERIAL"):
                understood = value = self.value(COLORS if part == "COLOR" else MATERIALS)
            else:
                understood = self.phrase(part)
            if not understood:
                return None
        return Statement(change_type, thing, value) if self._at == len(self._words) else None

    def noun_phrase(self) -> NounPhrase | None:
        if not (self.phrase("the") or self.phrase("a") or self.phrase("an")):
            return None
        self.phrase("new")
        attributes = self.attributes()
        if attributes is None:
            return None
        relation = self.relation()
        if relation is None:
            return NounPhrase(attributes)
        anchor = self.attributes() if self.phrase("the") else None
        return None if anchor is None else NounPhrase(attributes, relation, NounPhrase(anchor))

    def attributes(self) -> dict[str, str] | None:
        attributes = {
            "size": self.value(SIZES),
            "color": self.value(COLORS),
            "material": self.value(MATERIALS),
            "shape": self.value(SHAPES),
        }
        if attributes["shape"] is None and not any(self.phrase(word) for word in ANY_SHAPE):
            return None
        return {attribute: value for attribute, value in attributes.items() if value is not None}

    def relation(self) -> str | None:
        start = self._at
        self.phrase("that is")
        for words, relation in RELATIONS.items():
            if self.phrase(words):
                return relation
        self._at = start
        return None

    def value(self, values: Mapping[str, str]) -> str | None:
        value = values.get(self._words[self._at]) if self._at < len(self._words) else None
        self._at += value is not None
        return value

    def phrase(self, words: str) -> bool:
        wanted = words.split()
        if self._words[self._at : self._at + len(wanted)] != wanted:
            return False
        self._at += len(wanted)
        return True
