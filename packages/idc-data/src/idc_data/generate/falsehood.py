"""Checks that see, without a model, that a sentence about a change is false or says nothing, from the two captions.

They compare words, not meanings: each catches one kind of mistake that small language models make. How often each is
right is measured in docs/generate.md.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from idc_data.generate.rules import singular

# ruff: noqa: SIM905 (a list literal would be one word per line)
_FUNCTION = frozenset(
    "a an the this that these those his her its their it they he she him them and or but of in on at by with from to "
    "into onto for as than is are was were be been being has have had there here who which while so also just only "
    "very not no some any each both all one ones another other others which's it's up down out off over".split()
)
_CHANGE = (
    "change replace remove add appear disappear go gone vanish miss become became turn swap substitute instead now "
    "longer anymore more new still same different difference differ nothing anything something present visible absent "
    "back stay remain leave left come shift move transform alter switch previously before after once then former later "
    "first second image picture photo scene color colour show shown see seen taken took place".split()
)
_ADD = r"\b(appear(?:s|ed)?|added|there (?:is|are) now|now there (?:is|are)|is now (?:there|present|visible))\b"
_DROP = (
    r"\b(gone|disappear(?:s|ed)?|vanished|removed|missing|absent|no longer (?:there|present|visible|in)|"
    r"not there any ?more)\b"
)
_REPLACE = r"\b(replaced|swapped|substituted|instead of|in place of|chang(?:ed|es) (?:in)?to|turned into)\b"
_NONE = (
    r"\b(nothing (?:has )?changed|no (?:change|difference)s?|identical|"
    r"(?:is|are|remains?|show) (?:the same|unchanged))\b"
)
_VERBS = {"add": _ADD, "drop": _DROP, "replace": _REPLACE, "none": _NONE}
_ALLOWED = {  # change type -> verbs of change that fit it; attribute and other fit all but "nothing has changed"
    "add": {"add"},
    "drop": {"drop"},
    "replace": {"replace", "add", "drop"},
    "none": {"none"},
}

_OLD_NEW = re.compile(
    r"(?P<old>.+?)\b(?:(?:is|are|was|were|has been|have been|been)\s+)?"
    r"(?:replaced (?:by|with)|swapped (?:for|with)|substituted (?:by|with|for)|turned into|changed (?:in)?to|becomes?|"
    r"became|turns into)\b(?P<new>.+)"
)
_FROM_TO = re.compile(r"\bfrom\b(?P<old>.+?)\bto\b(?P<new>.+)")
_INSTEAD = re.compile(r"(?P<new>.+?)\b(?:instead of|in place of|rather than)\b(?P<old>.+)")
_NO_LONGER = re.compile(r"(?P<old>.+?\bno longer\b.*)")
_GONE = re.compile(rf"(?P<old>.+?){_DROP}")
_CAME = re.compile(rf"(?P<new>.+?)\b(?:has|have|was|were|is|are)?\s*(?:been )?(?:{_ADD})(?P<more>.*)")
_NOW = re.compile(r"(?P<about>.*?)\bnow\b(?P<new>.+)")
_CLAUSE = re.compile(r",| and (?=(?:a|an|the|two|there|it|now)\b)|;|\.|\bwhile\b|\bbut\b")


@dataclass(frozen=True)
class Claim:
    """What a clause says, as stems of words.

    Attributes:
        old: Words that describe the image before.
        new: Words that describe the image after.
        about: Words for a thing that has become something else.
    """

    old: frozenset[str]
    new: frozenset[str]
    about: frozenset[str] = frozenset()

    @property
    def empty(self) -> bool:
        """Whether something becomes what it was: "the white dog is now white", "a dog instead of a dog"."""
        was = self.about | self.old
        return bool(was and self.new) and (self.old == self.new or bool(self.about) and self.new <= was)


@dataclass(frozen=True)
class Statement:
    """A sentence about a change, with the captions that it was written from.

    Attributes:
        text: The sentence.
        change_type: As its writer says.
        before: Captions of the image before.
        after: Captions of the image after.
    """

    text: str
    change_type: str
    before: tuple[str, ...]
    after: tuple[str, ...]

    @cached_property
    def words(self) -> frozenset[str]:
        """Its words that mean something, in their stems, without the words of change."""
        return content(self.text)

    @cached_property
    def sides(self) -> tuple[frozenset[str], frozenset[str]]:
        """Words of the captions before, and of those after."""
        return content(" ".join(self.before)), content(" ".join(self.after))

    @cached_property
    def verbs(self) -> set[str]:
        """Kinds of change that its verbs express: add, drop, replace, none."""
        return {kind for kind, pattern in _VERBS.items() if re.search(pattern, self.text.lower())}


def stem(word: str) -> str:
    """Return a word without the endings of plurals, -ing and -ed, for comparison."""
    word = singular(word.removesuffix("'s"))
    for ending in ("ing", "ed"):
        short = word.removesuffix(ending)
        if short != word and len(short) >= 3:
            return short[:-1] if short[-1] == short[-2] and short[-1] not in "ls" else short.removesuffix("e")
    return word.removesuffix("e") if len(word) > 4 else word


_CHANGE_STEMS = frozenset(map(stem, _CHANGE))


def content(text: str) -> frozenset[str]:
    """Return the stems of the words of a text that are neither function words nor words of change."""
    text = re.sub(r"\btwo (?=images|pictures|photos|scenes)", "", text.lower())
    words = re.findall(r"[a-z][a-z0-9'-]*", text)
    return frozenset({stem(word) for word in words if word not in _FUNCTION} - _CHANGE_STEMS)


def invented(statement: Statement) -> bool:
    """Whether a word is in neither caption."""
    before, after = statement.sides
    return bool(statement.words - before - after)


def repeats(statement: Statement) -> bool:
    """Whether it only repeats words of one caption, and no verb says that something changed."""
    text = statement.text.lower()
    if statement.verbs or re.search(r"\bnow\b|\bno longer\b|\bbec[ao]me\b|\bfrom\b.+\bto\b|\binstead\b", text):
        return False
    return any(statement.words <= side for side in statement.sides)


def reversed_order(statement: Statement) -> bool:
    """Whether it says that what only the image after shows is gone, or that what only the image before shows came."""
    before, after = statement.sides
    only_before, only_after = before - after, after - before
    wrong = right = 0
    for claim in claims(statement.text):
        wrong += len((claim.old | claim.about) & only_after) + len(claim.new & only_before)
        right += len(claim.old & only_before) + len(claim.new & only_after)
    return wrong > right


def shared(statement: Statement) -> bool:
    """Whether what both captions have is said to go, to come or to be replaced, or to become what it was."""
    before, after = statement.sides
    both = before & after
    for claim in claims(statement.text):
        told = claim.old | claim.new
        if told and told <= both and not claim.about - both:
            return True
        if claim.empty:
            return True
    return False


def mistyped(statement: Statement) -> bool:
    """Whether the change type contradicts the verb: drop for "has appeared", none for anything that changes."""
    verbs, kind = statement.verbs, statement.change_type
    if "none" in verbs:
        return kind != "none"
    if kind == "none":
        return True
    return kind in _ALLOWED and bool(verbs) and not verbs & _ALLOWED[kind]


CHECKS: dict[str, Callable[[Statement], bool]] = {
    "invented": invented,
    "repeats": repeats,
    "reversed": reversed_order,
    "shared": shared,
    "mistyped": mistyped,
}
"""Name -> whether a statement is at fault."""

REASONS = {
    "invented": "word that no caption has",
    "repeats": "repeats one caption",
    "reversed": "before and after reversed",
    "shared": "change of what both captions share",
    "mistyped": "change type against the verb",
}
"""Name of a check -> the reason for people."""


def claims(text: str) -> list[Claim]:
    """Split a sentence into clauses and read what each says of the image before and of the image after."""
    read = (_claim(clause) for clause in _CLAUSE.split(text.lower()) if clause.strip())
    return [claim for claim in read if claim is not None]


def _claim(clause: str) -> Claim | None:
    if found := _INSTEAD.search(clause):
        if now := _NOW.search(found["new"]):
            return Claim(content(found["old"]), content(now["new"]), content(now["about"]))
        return Claim(content(found["old"]), content(found["new"]))
    for pattern in (_OLD_NEW, _FROM_TO):
        if found := pattern.search(clause):
            return Claim(content(found["old"]), content(found["new"]))
    if found := _NO_LONGER.search(clause) or _GONE.search(clause):
        return Claim(content(found["old"]), frozenset())
    if found := _CAME.search(clause):
        return Claim(frozenset(), content(found["new"]) | content(found["more"]))
    if found := _NOW.search(clause):
        return Claim(frozenset(), content(found["new"]), content(found["about"]))
    return None
