"""CLEVR's studio: where objects stand, where the camera and the three lamps are, and how far either side moves them.

Source: the generators of CLEVR (Johnson et al., CVPR 2017) and CLEVR-Change (Park et al., ICCV 2019): objects within 3
units, 0.25 apart, 0.4 apart along the camera's directions; the before camera within 0.5 and its lamps within 1 unit of
their places; the after side moved on by up to `m` units along each axis, `m` drawn anew for each pair. Places and
strengths of the lamps were fitted to 180 renders of that studio, on bare ground: 0.8 % of full brightness off.
Differs from both: no two objects of a scene look the same, and what is hidden is judged by circles, not by pixels.
"""

import math
from dataclasses import dataclass, replace
from random import Random

from idc_data.scenes.world import Camera, Floor, NoRoomError, Object, Pair, sample_states

HALF = {"small": 0.35, "large": 0.7}
"""Half the height of balls and cylinders, in scene units; a cube's is smaller by the square root of 2."""
EYE = (7.48, -6.5, 5.34)
"""Where the camera stands on average, in scene units; it looks at the middle of the ground."""
LAMPS = ((5.65, -2.5, 4.0), (-3.89, -3.32, 2.61), (-0.7, 1.07, 4.03))
"""Key, fill and back lamp, in scene units."""
POWER = ((3.34, 3.12, 2.72), (0.59, 0.62, 0.76), (1.49, 1.48, 1.5))
"""Red, green and blue of each lamp: what grey ground sends back at distance 1."""
AMBIENT = 0.13
MIN_MOVE = 0.8
"""A moved object travels at least this far, in scene units."""
_REACH = 3.0
_GAP = 0.25
_MARGIN = 0.4

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Studio(Camera):
    """One side's camera and lamps, and the materials of the pair, which are the same on both sides.

    Attributes:
        lamps: Where the three lamps hang, in scene units.
        power: Red, green and blue of each lamp.
        ambient: Light from everywhere.
        ground: Red, green and blue of the ground, about 1.
        tint: What the colours of objects are multiplied by.
        gloss: How small highlights are: 1 as measured, less is wider.
        mirror: How much metal reflects: 1 as measured.
    """

    lamps: tuple[Triple, ...] = LAMPS
    power: tuple[Triple, ...] = POWER
    ambient: float = AMBIENT
    ground: Triple = (1.0, 1.0, 1.0)
    tint: Triple = (1.0, 1.0, 1.0)
    gloss: float = 1.0
    mirror: float = 1.0


def half_height(thing: Object) -> float:
    """Half the height of an object, in scene units."""
    return HALF[thing.size] / (math.sqrt(2) if thing.shape == "cube" else 1)


def sample_pair(
    rng: Random,
    *,
    change_type: str,
    min_objects: int,
    max_objects: int,
    camera_jitter: float,
    light_jitter: float,
    variation: float,
) -> Pair[Studio]:
    """Draw a before state and one change of the given type, as `ClevrScenes` describes the settings."""
    while True:
        try:
            before, after, index_before, index_after = sample_states(rng, change_type, min_objects, max_objects, _FLOOR)
        except NoRoomError:
            continue
        first, second = _sample_studios(rng, camera_jitter, light_jitter, variation)
        return Pair(change_type, tuple(before), tuple(after), index_before, index_after, first, second)


def _sample_studios(rng: Random, camera_jitter: float, light_jitter: float, variation: float) -> tuple[Studio, Studio]:
    def near(place: Triple, most: float) -> Triple:
        x, y, z = (value + rng.uniform(-most, most) for value in place)
        return x, y, z

    def about_one(most: float) -> float:
        return math.exp(rng.uniform(-most, most) * variation)

    def tinted(most: float, least: float) -> Triple:
        tone = about_one(most)
        return tone * about_one(least), tone * about_one(least), tone * about_one(least)

    power = []
    for red, green, blue in POWER:
        strength = tinted(0.35, 0.08)
        power.append((red * strength[0], green * strength[1], blue * strength[2]))
    finish = Studio(
        power=tuple(power),
        ambient=AMBIENT * about_one(0.35),
        ground=tinted(0.25, 0.06),
        tint=tinted(0.15, 0.08),
        gloss=about_one(0.7),
        mirror=about_one(0.35),
    )
    eye, lamps = near(EYE, 0.5 * camera_jitter), tuple(near(lamp, light_jitter) for lamp in LAMPS)
    first = _seen_from(eye, replace(finish, lamps=lamps))
    eye = near(eye, camera_jitter * rng.random())
    further = light_jitter * rng.random()
    return first, _seen_from(eye, replace(finish, lamps=tuple(near(lamp, further) for lamp in lamps)))


def _seen_from(eye: Triple, studio: Studio) -> Studio:
    x, y, z = eye
    distance = math.sqrt(x * x + y * y + z * z)
    return replace(studio, azimuth=math.atan2(y, x), elevation=math.asin(z / distance), distance=distance)


_BASE = _seen_from(EYE, Studio())


def _place(rng: Random) -> tuple[float, float]:
    return rng.uniform(-_REACH, _REACH), rng.uniform(-_REACH, _REACH)


def _has_room(thing: Object, others: list[Object]) -> bool:
    """Whether an object touches no other, stands clearly left or right, before or behind each, and hides none."""
    right, front = _BASE.place(thing)
    for other in others:
        if math.hypot(thing.x - other.x, thing.y - other.y) < HALF[thing.size] + HALF[other.size] + _GAP:
            return False
        right_of, front_of = _BASE.place(other)
        if min(abs(right - right_of), abs(front - front_of)) < _MARGIN:
            return False
        # Depth is foreshortened by the elevation and height is not. The middle of the one behind stays uncovered.
        rise = (half_height(thing) - half_height(other)) * math.cos(_BASE.elevation)
        rise -= (front - front_of) * math.sin(_BASE.elevation)
        if math.hypot(right - right_of, rise) < max(HALF[thing.size], HALF[other.size]):
            return False
    return True


_FLOOR = Floor(_place, (0.0, math.tau), _has_room, MIN_MOVE)
