"""Differences without a model: the noun phrases of two captions, aligned by their heads.

"a brown dog on a sofa", "a white dog next to a cat"
-> the brown dog is now white, the sofa is gone, and a cat has appeared
"""

import re
from dataclasses import dataclass

# ruff: noqa: SIM905 (a list literal would be one word per line)
_DETERMINERS = frozenset("a an the this that these those his her its their my our your some any each every".split())
_NUMBERS = frozenset("one two three four five six seven eight nine ten several many few".split())
_BREAKS = frozenset(
    "in on at of with and or near next to by under over above below behind beside between from into onto through while "
    "which who is are was were be been being has have had there it they them he she up down out off front top back as "
    "side left right inside outside around along across against for but so very both other another all".split()
)
_QUALITIES = frozenset(
    "red orange yellow green blue purple violet pink brown black white gray grey golden silver beige dark light bright "
    "colorful big large huge small little tiny tall short long wide narrow thick thin high low full empty open hot "
    "cold warm wet dry clean dirty new old young fresh ripe raw shiny matte smooth rough soft hard round square flat "
    "straight bent wooden metal plastic leather furry fluffy bare naked asleep awake alone happy sad sunny cloudy "
    "foggy rainy snowy blurry clear heavy light loose tight left right upright".split()
)
_THINGS_IN_ING = frozenset(
    "building king ring wing ceiling clothing string spring evening morning painting thing".split()
)


@dataclass(frozen=True)
class Phrase:
    """A noun phrase.

    Attributes:
        modifiers: The words before the noun.
        noun: The last word, as it was written.
        head: The noun in the singular, by which phrases are compared.
    """

    modifiers: tuple[str, ...]
    noun: str
    head: str

    @property
    def plural(self) -> bool:
        """Whether it takes a plural verb."""
        return self.noun != self.head or bool(_NUMBERS.difference({"one"}).intersection(self.modifiers))

    def __str__(self) -> str:
        return " ".join((*self.modifiers, self.noun))


def phrases(caption: str) -> list[Phrase]:
    """Find the noun phrases of a caption: runs of words between determiners, prepositions, and verbs in -ing."""
    found: list[Phrase] = []
    run: list[str] = []
    words = [*re.findall(r"[a-z0-9][a-z0-9'-]*", caption.lower()), "and"]
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "and" and run and run[-1] in _QUALITIES and following in _QUALITIES:
            run.append(word)  # a black and white dog is one thing
            continue
        verb = word.endswith("ing") and len(word) > 4 and word not in _THINGS_IN_ING
        if word in _DETERMINERS or word in _BREAKS or verb:
            if run and run[-1] not in _NUMBERS:
                found.append(Phrase(tuple(run[:-1]), run[-1], singular(run[-1])))
            run = []
        else:
            run.append(word)
    return list({phrase.head: phrase for phrase in reversed(found)}.values())[::-1]


def difference(before: str, after: str) -> tuple[list[str], str]:
    """Write what changed between two images, from their captions.

    Returns:
        Three wordings, and the kind of change: none, attribute, replace, add, drop, or other.
    """
    old = {phrase.head: phrase for phrase in phrases(before)}
    new = {phrase.head: phrase for phrase in phrases(after)}
    same = {head for head in old if head in new and old[head].modifiers == new[head].modifiers}
    turned = [head for head in old if head in new and head not in same and _is_the_same_thing(old[head], new[head])]
    gone = [phrase for head, phrase in old.items() if head not in (*same, *turned)]
    come = [phrase for head, phrase in new.items() if head not in (*same, *turned)]
    other = [(old[head], new[head]) for head in turned]
    if not (gone or come or other):
        if before.lower().split() == after.lower().split():
            return ["nothing has changed", "there is no difference", "the two images show the same"], "none"
        return [f"now {clause}" for clause in (_clause(after),)], "other"
    wordings = [_sentence(gone, come, other, style) for style in range(3)]
    kinds = [kind for kind, there in (("attribute", other), ("drop", gone), ("add", come)) if there]
    kind = "replace" if len(gone) == len(come) == 1 and not other else kinds[0] if len(kinds) == 1 else "other"
    return list(dict.fromkeys(wordings)), kind


def _is_the_same_thing(old: Phrase, new: Phrase) -> bool:
    """Whether one can be said to have become the other: a red car a blue one, but no tiger cat an Egyptian cat."""
    return all(
        word in _QUALITIES or word in _NUMBERS or word == "and" or word.endswith(("ed", "en", "ish"))
        for word in set(old.modifiers) ^ set(new.modifiers)
    )


def _sentence(gone: list[Phrase], come: list[Phrase], other: list[tuple[Phrase, Phrase]], style: int) -> str:
    parts = []
    for old, new in other[:1]:
        added = [word for word in new.modifiers if word not in old.modifiers]
        if added and "and" in new.modifiers:  # "brown and white", not "and white"
            added = list(new.modifiers)
        verb = _be(old, ("is now", "are now") if style != 1 else ("became", "became"))
        parts.append(
            f"the {old} {verb} {' '.join(added)}" if added else f"the {old} {_be(old)} no longer {_lost(old, new)}"
        )
    if len(gone) == len(come) == 1 and not parts:
        old, new = gone[0], come[0]
        return (
            f"the {old} {_be(old, ('has', 'have'))} been replaced by {_a(new)}",
            f"the {old} {_be(old)} gone and {_a(new)} {_be(new, ('has', 'have'))} appeared",
            f"there {_be(new)} now {_a(new)} instead of the {old}",
        )[style]
    for phrase in gone[:1]:
        parts.append(
            f"the {phrase} "
            + (_be(phrase) + " gone", _be(phrase, ("has", "have")) + " disappeared", _be(phrase) + " no longer there")[
                style
            ]
        )
    for phrase in come[:1]:
        has = _be(phrase, ("has", "have"))
        parts.append(
            (f"{_a(phrase)} {has} appeared", f"{_a(phrase)} {has} been added", f"there {_be(phrase)} now {_a(phrase)}")[
                style
            ]
        )
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]


def _lost(old: Phrase, new: Phrase) -> str:
    lost = [word for word in old.modifiers if word not in (*new.modifiers, "and")]
    return " ".join(lost) or "the same"


def _be(phrase: Phrase, verbs: tuple[str, str] = ("is", "are")) -> str:
    return verbs[phrase.plural]


def _a(phrase: Phrase) -> str:
    if phrase.plural:
        return str(phrase)
    return f"{'an' if str(phrase)[0] in 'aeiou' else 'a'} {phrase}"


def _clause(caption: str) -> str:
    text = caption.strip().rstrip(".").lower()
    return text if re.search(r"\b(is|are)\b", text) else f"there is {text}"


def singular(noun: str) -> str:
    """Return the singular of an English noun, by its ending."""
    if noun.endswith("ies") and len(noun) > 4:
        return noun[:-3] + "y"
    if noun.endswith(("sses", "shes", "ches", "xes")):
        return noun[:-2]
    return noun[:-1] if noun.endswith("s") and not noun.endswith(("ss", "us", "is")) else noun
