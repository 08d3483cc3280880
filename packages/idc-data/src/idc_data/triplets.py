"""Batches with the changed pair and the distractor of a scene, as in the training of methods on CLEVR-Change."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from idc_data.example import ChangeExample, Reader


def couples(reader: Reader) -> list[tuple[int, int]]:
    """Find the two pairs of each scene: the indices of the changed pair and of the distractor.

    Raises:
        ValueError: A pair has no scene in its provenance, or a scene does not have exactly these two pairs.
    """
    scenes: dict[object, dict[bool, int]] = {}
    for index in range(len(reader)):
        example = reader[index]
        scene = (example.provenance or {}).get("scene")
        if scene is None or example.changed in scenes.get(scene, {}):
            what = "has no scene" if scene is None else f"is an additional pair of scene {scene!r}"
            raise ValueError(
                f"data.triplets is true, but pair {example.id!r} {what}; expected a changed pair and a distractor of "
                "each scene, as in CLEVR-Change; remove data.triplets"
            )
        scenes.setdefault(scene, {})[example.changed] = index
    if alone := [scene for scene, found in scenes.items() if len(found) < 2]:
        raise ValueError(
            f"data.triplets is true, but scene {alone[0]!r} ({len(alone)} such) has only one pair; expected a changed "
            "pair and a distractor of each scene; remove data.triplets"
        )
    return [(found[True], found[False]) for found in scenes.values()]


def swapped(examples: Sequence[ChangeExample], draws: Iterator[Random]) -> list[ChangeExample]:
    """Use the distractor's after image as the before image of both pairs of a scene, in half of the cases.

    Args:
        examples: Changed pair and distractor, scene by scene. Both have the same before image.
        draws: A random generator for each scene.
    """
    given = []
    for changed, distractor in zip(examples[::2], examples[1::2], strict=True):
        if next(draws).random() < 0.5:
            inputs = changed.inputs and distractor.inputs and (distractor.inputs[1], changed.inputs[1])
            # The regions on the distractor's image, which has another viewpoint, are unknown.
            changed = replace(changed, before=distractor.after, inputs=inputs, regions=None)
            inputs = distractor.inputs and distractor.inputs[::-1]
            distractor = replace(distractor, before=distractor.after, after=distractor.before, inputs=inputs)
        given += [changed, distractor]
    return given
