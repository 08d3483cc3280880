"""Reference captions of a pair: templates around referring expressions that single out one object."""

from collections.abc import Iterator, Sequence
from random import Random

from idc_data.scenes.world import ATTRIBUTES, AnyView, Camera, Object, Pair

SYNONYMS = {
    "small": ("small", "tiny"),
    "large": ("large", "big"),
    "metal": ("metal", "metallic", "shiny"),
    "rubber": ("rubber", "matte"),
    "object": ("object", "thing"),
}
"""CLEVR's, but for those of shapes: a model that is unsure would always say `cylinder`, which has no other word."""
RELATIONS = {"left of": (-1, 0), "right of": (1, 0), "in front of": (0, 1), "behind": (0, -1)}
"""Words, and the direction that they speak of: (right, front)."""
MARGIN = 0.4
"""A relation is said only where it holds by this much, in scene units, and is denied by no less."""

TEMPLATES = {
    "color": (
        "{the} turned {color}",
        "{the} became {color}",
        "{the} is now {color}",
        "{the} changed to {color}",
        "the color of {the} changed to {color}",
        "someone painted {the} {color}",
    ),
    "texture": (
        "{the} turned {material}",
        "{the} became {material}",
        "{the} is now {material}",
        "{the} changed to {material}",
        "the material of {the} changed to {material}",
    ),
    "add": (
        "{a} has appeared",
        "{a} has been added",
        "{a} was added",
        "there is now {a}",
        "someone added {a}",
    ),
    "drop": (
        "{the} is gone",
        "{the} is missing",
        "{the} has disappeared",
        "{the} was removed",
        "{the} is no longer there",
        "someone removed {the}",
    ),
    "move": (
        "{the} moved",
        "{the} was moved",
        "{the} changed its location",
        "{the} is in a different location",
        "someone moved {the}",
        "the location of {the} changed",
    ),
    "none": (
        "nothing has changed",
        "nothing changed",
        "no change was made",
        "there is no change",
        "there is no difference",
        "the scene is the same as before",
        "the scene remains the same",
        "the two scenes seem identical",
        "the two images show the same scene",
        "everything is as it was",
    ),
}


def references(pair: Pair[AnyView], rng: Random, num: int) -> tuple[str, ...]:
    """Draw `num` different captions of a pair, every one of them right.

    The referring expressions go round: all attributes, the fewest that single the object out, a spatial relation
    (where one does), some attributes.
    """
    if pair.change_type == "none":
        return tuple(rng.sample(TEMPLATES["none"], num))
    in_after = pair.change_type == "add"
    scene, view = (pair.after, pair.view_after) if in_after else (pair.before, pair.view_before)
    index = pair.changed_after if in_after else pair.changed_before
    assert index is not None
    new = pair.after[pair.changed_after] if pair.changed_after is not None else None
    found: dict[str, None] = {}
    templates = TEMPLATES[pair.change_type]
    while len(found) < num:
        for phrase in _phrases(scene, index, view, rng):
            found[
                rng.choice(templates).format(
                    the="the " + phrase,
                    a=("an " if phrase.startswith("object") else "a ") + phrase,
                    color=new.color if new else "",
                    material=rng.choice(SYNONYMS[new.material]) if new else "",
                )
            ] = None
    return tuple(list(found)[:num])


def _phrases(scene: Sequence[Object], index: int, view: Camera, rng: Random) -> Iterator[str]:
    looks = [thing.look for thing in scene]
    choices = singling_out(looks, index)
    fewest = [mask for mask in choices if mask.bit_count() == choices[0].bit_count()]
    yield _words(looks[index], 0b1111, rng)
    yield _words(looks[index], rng.choice(fewest), rng)
    yield _relation(scene, index, view, rng) or _words(looks[index], 0b1111, rng)
    yield _words(looks[index], rng.choice(choices), rng)


def singling_out(looks: Sequence[tuple[str, ...]], index: int) -> list[int]:
    """Sets of attributes (bit k: `ATTRIBUTES[k]`) that only the object at `index` has, the smallest sets first."""
    same = [
        sum(1 << k for k in range(len(ATTRIBUTES)) if look[k] == looks[index][k])
        for other, look in enumerate(looks)
        if other != index
    ]
    masks = sorted(range(1, 1 << len(ATTRIBUTES)), key=lambda mask: (mask.bit_count(), mask))
    return [mask for mask in masks if not any(mask & shared == mask for shared in same)]


def _words(look: Sequence[str], mask: int, rng: Random) -> str:
    words = [value for k, value in enumerate(look) if mask >> k & 1]
    if not mask >> ATTRIBUTES.index("shape") & 1:
        words.append("object")
    return " ".join(rng.choice(SYNONYMS.get(word, (word,))) for word in words)


def _relation(scene: Sequence[Object], index: int, view: Camera, rng: Random) -> str | None:
    """A relation to one other object that holds for the object at `index` alone among those of its size or shape."""
    if len(scene) < 2:
        return None
    looks = [thing.look for thing in scene]
    places = [view.place(thing) for thing in scene]
    anchor = rng.choice([other for other in range(len(scene)) if other != index])
    mask = rng.choice((0b1000, 0b1001, 0b1010, 0b1100))
    wanted = [other for other in range(len(scene)) if other not in (index, anchor)]
    alike = [o for o in wanted if all(looks[o][k] == looks[index][k] for k in range(4) if mask >> k & 1)]
    words = list(RELATIONS)
    rng.shuffle(words)
    for word in words:
        along = RELATIONS[word]
        ahead = [sum(d * (a - b) for d, a, b in zip(along, place, places[anchor], strict=True)) for place in places]
        if ahead[index] > MARGIN and all(ahead[other] < -MARGIN for other in alike):
            side = "to the " if word in ("left of", "right of") and rng.random() < 0.5 else ""
            said = f"{rng.choice(('that is ', ''))}{side}{word}"
            target = _words(looks[index], mask, rng)
            return f"{target} {said} the {_words(looks[anchor], rng.choice(singling_out(looks, anchor)), rng)}"
    return None
