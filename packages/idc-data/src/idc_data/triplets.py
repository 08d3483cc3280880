"""The changed pair and the distractor of a scene in one batch, as methods are trained on CLEVR-Change."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from idc_data.example import ChangeExample, Reader


def couples(reader: Reader) -> list[tuple[int, int]]:
    """Find the two pairs of each scene: the index of the changed one and of the distractor.

    Raises:
        ValueError: A pair tells no scene, or a scene has other pairs than these two.
    """
    scenes: dict[object, dict[bool, int]] = {}
    for index in range(len(reader)):
        example = reader[index]
        scene = (example.provenance or {}).get("scene")
        if scene is None or example.changed in scenes.get(scene, {}):
            what = "tells no scene" if scene is None else f"is one more of scene {scene!r}"
            raise ValueError(
                f"data.triplets is true, but pair {example.id!r} {what}; expected a changed pair and a distractor of "
                "each scene, as in CLEVR-Change; leave data.triplets out"
            )
        scenes.setdefault(scene, {})[example.changed] = index
    if alone := [scene for scene, found in scenes.items() if len(found) < 2]:
        raise ValueError(
            f"data.triplets is true, but of scene {alone[0]!r} (of {len(alone)} such) there is one pair; expected a "
            "changed pair and a distractor of each scene; leave data.triplets out"
        )
    return [(found[True], found[False]) for found in scenes.values()]


def swapped(examples: Sequence[ChangeExample], draws: Iterator[Random]) -> list[ChangeExample]:
    """Let the distractor's image be what both pairs of a scene show before, in half of the cases.

    Args:
        examples: Changed pair and distractor, scene by scene. Both show the same image before.
        draws: Luck for each scene.
    """
    given = []
    for changed, distractor in zip(examples[::2], examples[1::2], strict=True):
        if next(draws).random() < 0.5:
            inputs = changed.inputs and distractor.inputs and (distractor.inputs[1], changed.inputs[1])
            # Where the change is on the distractor's image, which is seen from elsewhere, is not known.
            changed = replace(changed, before=distractor.after, inputs=inputs, regions=None)
            inputs = distractor.inputs and distractor.inputs[::-1]
            distractor = replace(distractor, before=distractor.after, after=distractor.before, inputs=inputs)
        given += [changed, distractor]
    return given
