"""Scenes as data: objects on a ground plane, a camera, a light, and one change between two states.

The vocabulary is that of CLEVR (Johnson et al., CVPR 2017) and the change types are those of CLEVR-Change
(Park et al., ICCV 2019). Differs from both: every object of a scene differs from every other in at least one
attribute, so that attributes alone can always single one out.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any, Generic, TypeVar

SIZES = {"small": 0.45, "large": 0.85}
"""Half the height of an object, in scene units."""
COLORS = {
    "gray": (87, 87, 87),
    "red": (173, 35, 35),
    "blue": (42, 75, 215),
    "green": (29, 105, 20),
    "brown": (129, 74, 25),
    "purple": (129, 38, 192),
    "cyan": (41, 208, 208),
    "yellow": (255, 238, 51),
}
MATERIALS = ("rubber", "metal")
SHAPES = ("cube", "sphere", "cylinder")
ATTRIBUTES = ("size", "color", "material", "shape")
CHANGE_TYPES = ("color", "texture", "add", "drop", "move", "none")

AZIMUTH, ELEVATION, DISTANCE = math.radians(-45), math.radians(38), 9.0
"""The base viewpoint: radians, and scene units from the middle of the ground."""
MIN_MOVE = 1.2
"""A moved object travels at least this far, in scene units: more than any camera jitter seems to move it."""
_CLEARANCE = 0.15
_TURN = (-math.radians(20), math.radians(20))  # cubes show the camera an edge and two faces, not one face
_GROUND_RADIUS = 2.6


class NoRoomError(Exception):
    """A scene could not be completed; another one is drawn."""


@dataclass(frozen=True, slots=True)
class Object:
    """One object: its attributes, its place on the ground (scene units) and its turn about the vertical (radians)."""

    size: str
    color: str
    material: str
    shape: str
    x: float
    y: float
    turn: float

    @property
    def look(self) -> tuple[str, str, str, str]:
        """The four attributes that captions speak of."""
        return self.size, self.color, self.material, self.shape

    @property
    def radius(self) -> float:
        """Radius of the circle that the object covers on the ground, in scene units."""
        half = SIZES[self.size]
        return half * 1.2 if self.shape == "cube" else half


@dataclass(frozen=True, slots=True)
class Camera:
    """Where one side is seen from: angles in radians, distance in scene units."""

    azimuth: float = AZIMUTH
    elevation: float = ELEVATION
    distance: float = DISTANCE

    def place(self, thing: Object) -> tuple[float, float]:
        """Where an object stands: (to the right, to the front), in scene units along the camera's directions."""
        cos, sin = math.cos(self.azimuth), math.sin(self.azimuth)
        return thing.y * cos - thing.x * sin, thing.x * cos + thing.y * sin


@dataclass(frozen=True, slots=True)
class View(Camera):
    """One side's camera and its one light: angles in radians, brightness as a factor."""

    light_azimuth: float = math.radians(-100)
    light_elevation: float = math.radians(52)
    brightness: float = 1.0


AnyView = TypeVar("AnyView", bound=Camera)


@dataclass(frozen=True, slots=True)
class Pair(Generic[AnyView]):
    """A before state, an after state and the one change between them."""

    change_type: str
    before: tuple[Object, ...]
    after: tuple[Object, ...]
    changed_before: int | None
    changed_after: int | None
    view_before: AnyView
    view_after: AnyView

    def truth(self) -> dict[str, Any]:
        """The facts that decide whether a caption is right, as plain values."""
        return {
            "change_type": self.change_type,
            "before": [_facts(thing, self.view_before) for thing in self.before],
            "after": [_facts(thing, self.view_after) for thing in self.after],
            "changed_before": self.changed_before,
            "changed_after": self.changed_after,
        }


def _facts(thing: Object, view: Camera) -> dict[str, Any]:
    right, front = view.place(thing)
    looks = {name: value for name, value in asdict(thing).items() if name in ATTRIBUTES}
    return {**looks, "right": round(right, 4), "front": round(front, 4)}


def sample_pair(
    rng: Random, *, change_type: str, min_objects: int, max_objects: int, camera_jitter: float, light_jitter: float
) -> Pair[View]:
    """Draw a before state with `min_objects` to `max_objects` objects and apply one change of the given type.

    Args:
        rng: The only source of chance.
        change_type: One of `CHANGE_TYPES`.
        min_objects: Fewest objects in either state.
        max_objects: Most objects in either state.
        camera_jitter: Largest turn of each side's camera about the scene, in degrees (half as much in elevation,
            a hundredth of the distance per degree).
        light_jitter: Largest relative change of each side's brightness; the light turns by up to 60 degrees times it.
    """
    while True:
        try:
            states = sample_states(rng, change_type, min_objects, max_objects, TABLE)
        except NoRoomError:
            continue
        before, after, index_before, index_after = states
        views = (_sample_view(rng, camera_jitter, light_jitter), _sample_view(rng, camera_jitter, light_jitter))
        return Pair(change_type, tuple(before), tuple(after), index_before, index_after, *views)


@dataclass(frozen=True, slots=True)
class Floor:
    """Where objects may stand.

    Attributes:
        place: Draws where on the ground, in scene units.
        turn: Draws the turn about the vertical between these, in radians.
        has_room: Whether an object can stand beside others.
        min_move: A moved object travels at least this far, in scene units.
    """

    place: Callable[[Random], tuple[float, float]]
    turn: tuple[float, float]
    has_room: Callable[[Object, list[Object]], bool]
    min_move: float


def sample_states(
    rng: Random, change_type: str, low: int, high: int, floor: Floor
) -> tuple[list[Object], list[Object], int | None, int | None]:
    """Draw `low` to `high` objects, and what the change leaves of them.

    Returns:
        The objects before and after, and where in either list the changed object is.

    Raises:
        NoRoomError: There is no place for one of them.
    """
    if change_type == "add":
        high -= 1
    elif change_type == "drop":
        low += 1
    count = rng.randint(min(low, high), max(low, high))
    before: list[Object] = []
    for _ in range(count):
        before.append(_sample_object(rng, before, floor))
    after = list(before)
    if change_type == "none":
        return before, after, None, None
    if change_type == "add":
        after.append(_sample_object(rng, before, floor))
        return before, after, None, count
    index = rng.randrange(count)
    if change_type == "drop":
        del after[index]
        return before, after, index, None
    others = before[:index] + before[index + 1 :]
    after[index] = _altered(rng, before[index], change_type, others, floor)
    return before, after, index, index


def _altered(rng: Random, thing: Object, change_type: str, others: list[Object], floor: Floor) -> Object:
    if change_type == "move":
        for _ in range(50):
            x, y = floor.place(rng)
            moved = replace(thing, x=x, y=y)
            far = math.hypot(moved.x - thing.x, moved.y - thing.y) >= floor.min_move
            if far and floor.has_room(moved, others):
                return moved
        raise NoRoomError
    if change_type == "texture":
        changed = replace(thing, material=MATERIALS[1 - MATERIALS.index(thing.material)])
    else:
        changed = replace(thing, color=rng.choice([color for color in COLORS if color != thing.color]))
    if any(changed.look == other.look for other in others):
        raise NoRoomError
    return changed


def _sample_place(rng: Random) -> tuple[float, float]:
    distance, angle = _GROUND_RADIUS * math.sqrt(rng.random()), rng.uniform(0, math.tau)
    return distance * math.cos(angle), distance * math.sin(angle)


def _sample_object(rng: Random, others: list[Object], floor: Floor) -> Object:
    for _ in range(60):
        thing = Object(
            rng.choice(tuple(SIZES)),
            rng.choice(tuple(COLORS)),
            rng.choice(MATERIALS),
            rng.choice(SHAPES),
            *floor.place(rng),
            rng.uniform(*floor.turn),
        )
        if floor.has_room(thing, others) and all(thing.look != other.look for other in others):
            return thing
    raise NoRoomError


def _has_room(thing: Object, others: list[Object]) -> bool:
    """Whether an object touches no other one and, from the base viewpoint, hides none nor is hidden."""
    for other in others:
        dx, dy = thing.x - other.x, thing.y - other.y
        near = thing.radius + other.radius
        if math.hypot(dx, dy) < near + _CLEARANCE:
            return False
        # Seen from the camera, depth is foreshortened by the elevation and height is not: two circles on the picture
        # plane that overlap by more than a fifth of the smaller one would leave too little of the hidden object.
        right = dy * math.cos(AZIMUTH) - dx * math.sin(AZIMUTH)
        front = dx * math.cos(AZIMUTH) + dy * math.sin(AZIMUTH)
        rise = (SIZES[thing.size] - SIZES[other.size]) * math.cos(ELEVATION) - front * math.sin(ELEVATION)
        if math.hypot(right, rise) < near - 0.4 * min(thing.radius, other.radius):
            return False
    return True


TABLE = Floor(_sample_place, _TURN, _has_room, MIN_MOVE)


def _sample_view(rng: Random, camera_jitter: float, light_jitter: float) -> View:
    turn = math.radians(camera_jitter)
    swing = math.radians(60) * light_jitter
    base = View()
    return View(
        azimuth=base.azimuth + rng.uniform(-turn, turn),
        elevation=base.elevation + rng.uniform(-turn, turn) / 2,
        distance=base.distance * (1 + rng.uniform(-camera_jitter, camera_jitter) / 100),
        light_azimuth=base.light_azimuth + rng.uniform(-swing, swing),
        light_elevation=base.light_elevation + rng.uniform(-swing, swing) / 2,
        brightness=1 + rng.uniform(-light_jitter, light_jitter),
    )
