"""Whether a caption of a procedural scene is true, whatever its wording."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from idc_eval.prediction import explain
from idc_eval.statement import NounPhrase, Statement, read_statement


class SceneObject(BaseModel):
    """One object: its looks, and its place on the ground to the right and to the front, as the camera sees it."""

    model_config = ConfigDict(frozen=True)

    size: Literal["small", "large"]
    color: Literal["gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow"]
    material: Literal["metal", "rubber"]
    shape: Literal["cube", "sphere", "cylinder"]
    right: float
    front: float


class SceneTruth(BaseModel):
    """All objects of both images and which of them changed: `Prediction.truth` of a procedural scene."""

    model_config = ConfigDict(frozen=True)

    change_type: Literal["color", "texture", "add", "drop", "move", "none"]
    before: tuple[SceneObject, ...]
    after: tuple[SceneObject, ...]
    changed_before: int | None
    changed_after: int | None

    @model_validator(mode="after")
    def _indices_point_at_objects(self) -> Self:
        for side, objects, without in (("before", self.before, "add"), ("after", self.after, "drop")):
            index = self.changed_before if side == "before" else self.changed_after
            if self.change_type in (without, "none"):
                if index is not None:
                    raise ValueError(f"changed_{side} is {index}, expected null for change_type {self.change_type!r}")
            elif index is None or not 0 <= index < len(objects):
                raise ValueError(f"changed_{side} is {index}, expected the place of one of {len(objects)} objects")
        return self


@dataclass(frozen=True)
class Verdict:
    """What is right about a caption.

    Attributes:
        type_right: It states the kind of change that happened.
        attributes_right: And every attribute of the thing that it names, and the new value, are those of the changed
            object (where the thing is said to be does not count); None for a pair without a change.
        statement_right: It states the kind of change, names exactly one object, the one that changed, and the right
            new value; for a pair without a change: it says so.
    """

    type_right: bool
    attributes_right: bool | None
    statement_right: bool


_RELATIONS: dict[str, Callable[[SceneObject, SceneObject], bool]] = {
    "left of": lambda a, b: a.right < b.right,
    "right of": lambda a, b: a.right > b.right,
    "in front of": lambda a, b: a.front > b.front,
    "behind": lambda a, b: a.front < b.front,
}


def judge(caption: str, truth: Mapping[str, Any]) -> Verdict:
    """Judge a caption by the facts of its scene.

    A thing is sought in the image where it can be seen: in after for `add`, in before otherwise.

    Args:
        caption: Any text; what is no sentence of the language is wrong in every respect.
        truth: The facts, see `SceneTruth`.

    Raises:
        ValueError: The facts are not of that form.
    """
    scene = read_truth(truth)
    statement = read_statement(caption)
    type_right = statement is not None and statement.change_type == scene.change_type
    if scene.change_type == "none":
        return Verdict(type_right, attributes_right=None, statement_right=type_right)
    if statement is None or not type_right:
        return Verdict(type_right, attributes_right=False, statement_right=False)
    return _judge_change(statement, scene)


def read_truth(truth: Mapping[str, Any]) -> SceneTruth:
    """Check the facts of a scene.

    Raises:
        ValueError: They are not of the form of `SceneTruth`.
    """
    try:
        return SceneTruth.model_validate(truth)
    except ValidationError as error:
        raise ValueError(f"truth is not that of a scene: {explain(error)}") from error


def denoted(thing: NounPhrase, objects: Sequence[SceneObject]) -> list[int]:
    """The places of the objects that a noun phrase may mean, none where its anchor is not exactly one object."""
    found = [index for index, candidate in enumerate(objects) if looks_like(thing, candidate)]
    if thing.relation is None or thing.anchor is None:
        return found
    anchors = denoted(thing.anchor, objects)
    if len(anchors) != 1:
        return []
    holds, anchor = _RELATIONS[thing.relation], objects[anchors[0]]
    return [index for index in found if holds(objects[index], anchor)]


def _judge_change(statement: Statement, scene: SceneTruth) -> Verdict:
    added = scene.change_type == "add"
    objects, changed = (scene.after, scene.changed_after) if added else (scene.before, scene.changed_before)
    assert statement.thing is not None and changed is not None
    new_value = None
    if scene.changed_after is not None and scene.change_type in ("color", "texture"):
        became = scene.after[scene.changed_after]
        new_value = became.color if scene.change_type == "color" else became.material
    value_right = statement.value == new_value
    return Verdict(
        type_right=True,
        attributes_right=value_right and looks_like(statement.thing, objects[changed]),
        statement_right=value_right and denoted(statement.thing, objects) == [changed],
    )


def looks_like(thing: NounPhrase, candidate: SceneObject) -> bool:
    """Whether an object has every attribute that a noun phrase names; where it is does not count."""
    return all(getattr(candidate, attribute) == value for attribute, value in thing.attributes.items())
