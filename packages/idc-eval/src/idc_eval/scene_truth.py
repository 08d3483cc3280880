"""Judge captions of procedural scenes by truth, independent of wording."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from idc_eval.prediction import explain
from idc_eval.statement import NounPhrase, Statement, read_statement


class SceneObject(BaseModel):
    """An object: its appearance, and its ground position to the right and to the front, as seen by the camera."""

    model_config = ConfigDict(frozen=True)

    size: Literal["small", "large"]
    color: Literal["gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow"]
    material: Literal["metal", "rubber"]
    shape: Literal["cube", "sphere", "cylinder"]
    right: float
    front: float


class SceneTruth(BaseModel):
    """The objects of both images and which one changed: `Prediction.truth` of a procedural scene."""

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
                raise ValueError(f"changed_{side} is {index}, expected the index of one of {len(objects)} objects")
        return self


@dataclass(frozen=True)
class Verdict:
    """Which parts of a caption are right.

    Attributes:
        type_right: The kind of change is right.
        attributes_right: The kind of change is right, and so are all named attributes of the object and the new value
            (its location is ignored); None for a pair without a change.
        statement_right: The kind of change is right, the description fits the changed object and no other, and the new
            value is right; for a pair without a change: the caption claims none.
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
    """Judge a caption by the truth of its scene.

    The object is looked up in the image that shows it: after for `add`, otherwise before.

    Args:
        caption: Any text; text outside the grammar is wrong in every part.
        truth: The truth, see `SceneTruth`.

    Raises:
        ValueError: `truth` does not have that form.
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
    """Check and parse the truth of a scene.

    Raises:
        ValueError: `truth` does not have the form of `SceneTruth`.
    """
    try:
        return SceneTruth.model_validate(truth)
    except ValidationError as error:
        raise ValueError(f"truth is not the truth of a scene: {explain(error)}") from error


def denoted(thing: NounPhrase, objects: Sequence[SceneObject]) -> list[int]:
    """Return the indices of the objects that a noun phrase fits; none if its anchor is not exactly one object."""
    fitting = [index for index, candidate in enumerate(objects) if looks_like(thing, candidate)]
    if thing.relation is None or thing.anchor is None:
        return fitting
    anchors = denoted(thing.anchor, objects)
    if len(anchors) != 1:
        return []
    holds, anchor = _RELATIONS[thing.relation], objects[anchors[0]]
    return [index for index in fitting if holds(objects[index], anchor)]


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
    """Return whether an object has every attribute that a noun phrase names; its location is ignored."""
    return all(getattr(candidate, attribute) == value for attribute, value in thing.attributes.items())
