"""Ray casting of CLEVR's studio: three lamps with soft shadows, metal that mirrors the ground and other objects."""

import math
from collections.abc import Sequence

import numpy as np
from numba import njit, prange  # `idc_data.scenes` says what to install where it is missing
from numpy.typing import NDArray

from idc_data.scenes.clevr.world import Studio, half_height
from idc_data.scenes.render import _FAR, _hit
from idc_data.scenes.world import COLORS, MATERIALS, SHAPES, Object

FOCAL = 2.1875
"""Focal length in half image widths: 35 mm on a sensor of 32 mm, as CLEVR's camera."""
GLARE = np.float32(7)
"""How bright a lamp is that metal mirrors, by the light that it throws."""
RUBBER = np.float32(1.17)
"""How much more light rubber sends back than the ground."""
_ROOTS = np.linspace(0, 1, 2048)
_CURVE = np.where(_ROOTS**2 <= 0.0031308, 12.92 * _ROOTS**2, 1.055 * _ROOTS ** (2 / 2.4) - 0.055)
_CURVE = (_CURVE * 255 + 0.5).astype(np.uint8)  # sRGB of a square root
_ROUND = {"cube": 1.15, "sphere": 1.0, "cylinder": 1.1}  # the ball that throws about the same shadow, in half heights


def render(
    states: Sequence[tuple[Sequence[Object], Studio]], width: int, height: int, *, parallel: bool = True
) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """Render a batch of scenes.

    Args:
        states: Objects and studio of each image.
        width: Of each image, in pixels.
        height: Of each image, in pixels.
        parallel: Spread the rows over numba's threads; turn off inside a worker process.

    Returns:
        Images, uint8 `n height width 3`, and which object each pixel shows, int8 `n height width`: 0 ground, i + 1 the
        object at index i.
    """
    most = max((len(objects) for objects, _ in states), default=0)
    things = np.zeros((len(states), most, 10), np.float32)
    counts = np.array([len(objects) for objects, _ in states], np.int64)
    views = np.empty((len(states), 39), np.float32)
    for index, (objects, studio) in enumerate(states):
        views[index] = _view_row(studio)
        for slot, thing in enumerate(objects):
            things[index, slot] = _thing_row(thing, studio)
    images = np.empty((len(states), height, width, 3), np.uint8)
    shown = np.empty((len(states), height, width), np.int8)
    (_draw_parallel if parallel else _draw_serial)(things, counts, views, images, shown)
    return images, shown


def _thing_row(thing: Object, studio: Studio) -> tuple[float, ...]:
    half = half_height(thing)
    kind = 3 if thing.shape == "cylinder" else SHAPES.index(thing.shape)
    color = (channel / 255 * tint for channel, tint in zip(COLORS[thing.color], studio.tint, strict=True))
    material = MATERIALS.index(thing.material)
    return thing.x, thing.y, half, thing.turn, kind, material, *color, half * _ROUND[thing.shape]


def _view_row(view: Studio) -> tuple[float, ...]:
    cos_a, sin_a = math.cos(view.azimuth), math.sin(view.azimuth)
    cos_e, sin_e = math.cos(view.elevation), math.sin(view.elevation)
    ahead = (-cos_e * cos_a, -cos_e * sin_a, -sin_e)
    eye = (-view.distance * part for part in ahead)
    right, up = (-sin_a, cos_a, 0.0), (-sin_e * cos_a, -sin_e * sin_a, cos_e)
    lamps = (value for lamp in view.lamps for value in lamp)
    power = (value for lamp in view.power for value in lamp)
    rest = (view.ambient, *view.ground, view.gloss, view.mirror)
    return *eye, *right, *up, *ahead, *lamps, *power, *rest, 0.0, 0.0, 0.0


@njit(fastmath=True, cache=True)
def _light(things, count, view, code, px, py, pz, nx, ny, nz, shadows):  # noqa: ANN001, ANN202
    """Light that reaches a point of a surface, red, green and blue: from lamps by distance, and from around."""
    near = np.float32(1)  # of the light from around, what objects close by leave
    if shadows:
        for slot in range(count):
            if slot + 1 != code:
                thing = things[slot]
                dx, dy, dz = thing[0] - px, thing[1] - py, thing[2] - pz
                square = dx * dx + dy * dy + dz * dz
                toward = nx * dx + ny * dy + nz * dz
                if toward > 0:
                    size = thing[9] * thing[9]
                    near *= 1 - np.float32(0.8) * min(size * toward / (square * math.sqrt(square)), np.float32(1))
    # Bare ground gets all of it; what looks sideways or down gets light from the ground, which lamps make brighter.
    red = green = blue = view[30] * near * (np.float32(1.5) - np.float32(0.5) * nz)
    for lamp in range(3):
        lx, ly, lz = view[12 + 3 * lamp] - px, view[13 + 3 * lamp] - py, view[14 + 3 * lamp] - pz
        square = lx * lx + ly * ly + lz * lz
        far = math.sqrt(square)
        lit = (nx * lx + ny * ly + nz * lz) / far
        if lit <= 0:
            continue
        lx, ly, lz = lx / far, ly / far, lz / far
        if shadows:
            for slot in range(count):
                thing = things[slot]
                dx, dy, dz = thing[0] - px, thing[1] - py, thing[2] - pz
                along = dx * lx + dy * ly + dz * lz
                if slot + 1 == code or along <= 0 or along > far:
                    continue
                aside = math.sqrt(max(dx * dx + dy * dy + dz * dz - along * along, np.float32(0)))
                clear = (aside - thing[9]) / (np.float32(0.05) + np.float32(0.2) * along)
                if clear < 1:
                    lit *= max(np.float32(0.5) + np.float32(0.5) * clear, np.float32(0))
        lit = lit / square
        red += lit * view[21 + 3 * lamp]
        green += lit * view[22 + 3 * lamp]
        blue += lit * view[23 + 3 * lamp]
    return red, green, blue


@njit(fastmath=True, cache=True)
def _first(things, count, ox, oy, oz, dx, dy, dz):  # noqa: ANN001, ANN202
    """What a ray meets first: the distance, the object's code (0: ground or nothing), and the normal there."""
    best, code = _FAR, 0
    nx, ny, nz = np.float32(0), np.float32(0), np.float32(1)
    if dz < -1e-4:
        best = -oz / dz
    for slot in range(count):
        t, hx, hy, hz = _hit(things[slot], ox, oy, oz, dx, dy, dz)
        if t < best:
            best, code, nx, ny, nz = t, slot + 1, hx, hy, hz
    return best, code, nx, ny, nz


@njit(fastmath=True, cache=True)
def _shade(things, count, view, u, v):  # noqa: ANN001, ANN202
    """Linear colour and object code of the ray through the picture point (u, v): u from -1 to 1, v upwards."""
    dx = FOCAL * view[9] + u * view[3] + v * view[6]
    dy = FOCAL * view[10] + u * view[4] + v * view[7]
    dz = FOCAL * view[11] + u * view[5] + v * view[8]
    norm = 1 / math.sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx * norm, dy * norm, dz * norm
    best, code, nx, ny, nz = _first(things, count, view[0], view[1], view[2], dx, dy, dz)
    if best >= _FAR:
        return view[30] * view[31], view[30] * view[32], view[30] * view[33], code
    px, py, pz = view[0] + best * dx, view[1] + best * dy, view[2] + best * dz
    red, green, blue = _light(things, count, view, code, px, py, pz, nx, ny, nz, True)
    if code == 0:
        return red * view[31], green * view[32], blue * view[33], code
    thing = things[code - 1]
    back = dx * nx + dy * ny + dz * nz
    rx, ry, rz = dx - 2 * back * nx, dy - 2 * back * ny, dz - 2 * back * nz
    glare = np.float32(0)  # the lamps, seen in the surface
    sharp = (np.float32(35) if thing[5] == 1 else np.float32(10)) * view[34]
    for lamp in range(3):
        lx, ly, lz = view[12 + 3 * lamp] - px, view[13 + 3 * lamp] - py, view[14 + 3 * lamp] - pz
        square = lx * lx + ly * ly + lz * lz
        if nx * lx + ny * ly + nz * lz > 0:
            cosine = (rx * lx + ry * ly + rz * lz) / math.sqrt(square)
            glare += math.exp((cosine - 1) * sharp) * view[22 + 3 * lamp] / square
    if thing[5] == 0:  # rubber
        sheen = np.float32(0.10) * glare
        red, green, blue = RUBBER * red, RUBBER * green, RUBBER * blue
        return thing[6] * red + sheen, thing[7] * green + sheen, thing[8] * blue + sheen, code
    far, other, mx, my, mz = _first(things, count, px, py, pz, rx, ry, rz)
    if far >= _FAR:  # the dark room above, lighter at the horizon
        red = green = blue = view[30] * (np.float32(0.3) + np.float32(0.8) * math.exp(np.float32(-3) * rz))
    else:
        qx, qy, qz = px + far * rx, py + far * ry, pz + far * rz
        r, g, b = _light(things, count, view, other, qx, qy, qz, mx, my, mz, other == 0)
        if other == 0:
            red, green, blue = r * view[31], g * view[32], b * view[33]
        else:
            seen = things[other - 1]
            red, green, blue = r * seen[6], g * seen[7], b * seen[8]
    shine, glare = view[35], glare * GLARE * view[35]
    return (
        thing[6] * (red * shine + glare) + np.float32(0.15) * glare,
        thing[7] * (green * shine + glare) + np.float32(0.15) * glare,
        thing[8] * (blue * shine + glare) + np.float32(0.15) * glare,
        code,
    )


@njit(fastmath=True, cache=True)
def _byte(value):  # noqa: ANN001, ANN202
    """Look sRGB's transfer curve up."""
    return _CURVE[int(math.sqrt(min(max(value, np.float32(0)), np.float32(1))) * np.float32(2047) + np.float32(0.5))]


@njit(fastmath=True, cache=True)
def _draw_row(things, counts, views, images, shown, job, smooth):  # noqa: ANN001, ANN202
    """One ray through every pixel of a row, or in its place four where the pixel lies at an outline."""
    height, width = images.shape[1:3]
    image, row = job // height, job % height
    for column in range(width):
        code = shown[image, row, column]
        if smooth and (
            (row == 0 or shown[image, row - 1, column] == code)
            and (row == height - 1 or shown[image, row + 1, column] == code)
            and (column == 0 or shown[image, row, column - 1] == code)
            and (column == width - 1 or shown[image, row, column + 1] == code)
        ):
            continue
        red, green, blue = np.float32(0), np.float32(0), np.float32(0)
        rays = 4 if smooth else 1
        for ray in range(rays):
            x = column + (np.float32(0.25) + np.float32(0.5) * (ray % 2) if smooth else np.float32(0.5))
            y = row + (np.float32(0.25) + np.float32(0.5) * (ray // 2) if smooth else np.float32(0.5))
            u, v = np.float32(2 * x / width - 1), np.float32((height - 2 * y) / width)
            r, g, b, code = _shade(things[image], counts[image], views[image], u, v)
            red, green, blue = red + r / rays, green + g / rays, blue + b / rays
        images[image, row, column, 0] = _byte(red)
        images[image, row, column, 1] = _byte(green)
        images[image, row, column, 2] = _byte(blue)
        if not smooth:
            shown[image, row, column] = code


# Two functions and not one compiled twice, for the reasons in `idc_data.scenes.render`.
@njit(cache=True)
def _draw_serial(things, counts, views, images, shown):  # noqa: ANN001, ANN202
    for smooth in (False, True):
        for job in range(images.shape[0] * images.shape[1]):
            _draw_row(things, counts, views, images, shown, job, smooth)


@njit(parallel=True, cache=True)
def _draw_parallel(things, counts, views, images, shown):  # noqa: ANN001, ANN202
    for smooth in (False, True):
        for job in prange(images.shape[0] * images.shape[1]):
            _draw_row(things, counts, views, images, shown, job, smooth)
