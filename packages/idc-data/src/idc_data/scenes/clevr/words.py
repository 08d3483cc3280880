"""Sentences of CLEVR-Change: its templates, its synonyms, and phrases that single one object out.

Source: counted in captions of that dataset's form. Each kind of change has six templates, all equally often; half of
the phrases say where the object is; a phrase always names the shape and leaves other attributes out by chance.
"""

from collections.abc import Sequence
from random import Random

from idc_data.scenes.grammar import MARGIN, singling_out
from idc_data.scenes.grammar import SYNONYMS as COMMON
from idc_data.scenes.world import ATTRIBUTES, AnyView, Camera, Object, Pair

SYNONYMS = {**COMMON, "sphere": ("sphere", "ball"), "cube": ("cube", "block")}
RELATIONS = {
    ("left of", "to the left of", "on the left side of"): (-1, 0),
    ("right of", "to the right of", "on the right side of"): (1, 0),
    ("in front of",): (0, 1),
    ("behind",): (0, -1),
}
"""Words, and the direction that they speak of: (right, front)."""
TEMPLATES = {
    "color": (
        "the {thing} turned {color}",
        "the {thing} became {color}",
        "the {thing} is now {color}",
        "the {thing} changed to {color}",
        "the color of the {thing} changed to {color}",
        "someone changed the {thing} to {color}",
    ),
    "texture": (
        "the {thing} turned {material}",
        "the {thing} became {material}",
        "the {thing} is now {material}",
        "the {thing} is now made of {material}",
        "the {thing} changed to {material}",
        "someone changed the {thing} to {material}",
    ),
    "add": (
        "the {thing} appeared",
        "the {thing} has been added",
        "the {thing} has been newly placed",
        "a {thing} was added to the scene",
        "there is a new {thing}",
        "someone added the {thing}",
    ),
    "drop": (
        "the {thing} is gone",
        "the {thing} is missing",
        "the {thing} has disappeared",
        "the {thing} is no longer there",
        "there is no longer a {thing}",
        "someone removed the {thing}",
    ),
    "move": (
        "the {thing} moved",
        "the {thing} was moved",
        "the {thing} changed its location",
        "the {thing} is in a different location",
        "the position of the {thing} is different",
        "someone moved the {thing}",
    ),
    "none": (
        "nothing has changed",
        "nothing was modified",
        "no change was made",
        "no change has occurred",
        "there is no change",
        "there is no difference",
        "the scene is the same as before",
        "the scene remains the same",
        "the two scenes seem identical",
        "the two images show the same scene",
    ),
}
_SHAPE = 1 << ATTRIBUTES.index("shape")


def references(
    pair: Pair[AnyView], rng: Random, num: int, *, relations: float, complete: float = 0.0
) -> tuple[str, ...]:
    """Draw `num` different captions of a pair, every one of them right.

    Args:
        pair: What changed.
        rng: The only source of chance.
        num: How many, up to 10.
        relations: Share of captions that say where the object is.
        complete: Share of the others that name all attributes of the object, whether they are needed or not.
    """
    if pair.change_type == "none":
        return tuple(rng.sample(TEMPLATES["none"], num))
    in_after = pair.change_type == "add"
    scene, view = (pair.after, pair.view_after) if in_after else (pair.before, pair.view_before)
    index = pair.changed_after if in_after else pair.changed_before
    assert index is not None
    new = pair.after[pair.changed_after] if pair.changed_after is not None else None
    found: dict[str, None] = {}
    templates = rng.sample(TEMPLATES[pair.change_type], len(TEMPLATES[pair.change_type]))
    while len(found) < num:
        related = _related(scene, index, view, rng) if rng.random() < relations else None
        whole = not related and rng.random() < complete
        caption = templates[len(found) % len(templates)].format(
            thing=related or _alone([thing.look for thing in scene], index, rng, whole=whole),
            color=new.color if new else "",
            material=rng.choice(SYNONYMS[new.material]) if new else "",
        )
        found[caption] = None
    return tuple(found)


def _alone(looks: Sequence[tuple[str, ...]], index: int, rng: Random, *, whole: bool = False) -> str:
    """Attributes that only one object has, the shape among them."""
    masks = [mask for mask in singling_out(looks, index) if mask & _SHAPE]
    return _words(looks[index], max(masks) if whole else rng.choice(masks), rng)


def _words(look: Sequence[str], mask: int, rng: Random) -> str:
    return " ".join(rng.choice(SYNONYMS.get(word, (word,))) for k, word in enumerate(look) if mask >> k & 1)


def _related(scene: Sequence[Object], index: int, view: Camera, rng: Random) -> str | None:
    """A phrase with a relation to one other object that holds for the object at `index` alone, where one is found."""
    looks = [thing.look for thing in scene]
    places = [view.place(thing) for thing in scene]
    anchors = [other for other in range(len(scene)) if other != index]
    rng.shuffle(anchors)
    for anchor in anchors:
        mask = _SHAPE | rng.randrange(_SHAPE)
        alike = [
            other
            for other in range(len(scene))
            if other not in (index, anchor)
            and all(looks[other][k] == looks[index][k] for k in range(len(ATTRIBUTES)) if mask >> k & 1)
        ]
        for words in rng.sample(list(RELATIONS), len(RELATIONS)):
            along = RELATIONS[words]
            ahead = [sum(d * (a - b) for d, a, b in zip(along, place, places[anchor], strict=True)) for place in places]
            if ahead[index] > MARGIN and all(ahead[other] < -MARGIN for other in alike):
                target = _words(looks[index], mask, rng)
                return f"{target} that is {rng.choice(words)} the {_alone(looks, anchor, rng)}"
    return None
