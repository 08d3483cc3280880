"""Ray casting of scenes: analytic intersections, one shadow ray, highlights, and an environment that metal reflects."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

try:
    from numba import njit, prange
except ImportError as error:
    raise ImportError("procedural scenes need numba: uv pip install './packages/idc-data[scenes]'") from error

from idc_data.scenes.world import COLORS, MATERIALS, SHAPES, SIZES, Object, View

FOCAL = 2.45
"""Focal length in half image widths: the field of view is 2 atan(1 / 2.45) = 44 degrees."""
SLIM = 0.7
"""Radius of a cylinder as a part of half its height: taller than CLEVR's, to be told from a cube at 64 pixels."""
_AIM = 0.3  # the camera looks at a point this high above the middle of the ground
_FAR = np.float32(1e9)
_GROUND = 0
_SKY = -1


def render(
    states: Sequence[tuple[Sequence[Object], View]], size: int, *, parallel: bool = True
) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """Render a batch of scenes.

    Args:
        states: Objects and view of each image.
        size: Width and height of each image, in pixels.
        parallel: Spread the rows over numba's threads; turn off inside a worker process.

    Returns:
        Images, uint8 `n size size 3`, and which object each pixel shows, int8 `n size size`: -1 sky, 0 ground,
        i + 1 the object at index i.
    """
    most = max((len(objects) for objects, _ in states), default=0)
    things = np.zeros((len(states), most, 9), np.float32)
    counts = np.array([len(objects) for objects, _ in states], np.int64)
    views = np.empty((len(states), 16), np.float32)
    for index, (objects, view) in enumerate(states):
        views[index] = _view_row(view)
        for slot, thing in enumerate(objects):
            things[index, slot] = _thing_row(thing)
    images = np.empty((len(states), size, size, 3), np.uint8)
    shown = np.empty((len(states), size, size), np.int8)
    draw = _draw_parallel if parallel else _draw_serial
    draw(things, counts, views, images, shown)
    return images, shown


def _thing_row(thing: Object) -> tuple[float, ...]:
    red, green, blue = (channel / 255 for channel in COLORS[thing.color])
    half = SIZES[thing.size]
    if thing.shape == "cube":
        half *= 0.9  # of a ball, a cylinder and a cube of one height, the cube looks the largest
    kind = SHAPES.index(thing.shape)
    return thing.x, thing.y, half, thing.turn, kind, MATERIALS.index(thing.material), red, green, blue


def _view_row(view: View) -> tuple[float, ...]:
    cos_a, sin_a = math.cos(view.azimuth), math.sin(view.azimuth)
    cos_e, sin_e = math.cos(view.elevation), math.sin(view.elevation)
    eye = (view.distance * cos_e * cos_a, view.distance * cos_e * sin_a, view.distance * sin_e + _AIM)
    right = (-sin_a, cos_a, 0.0)
    up = (-sin_e * cos_a, -sin_e * sin_a, cos_e)
    ahead = (-cos_e * cos_a, -cos_e * sin_a, -sin_e)
    cos_l, sin_l = math.cos(view.light_elevation), math.sin(view.light_elevation)
    light = (cos_l * math.cos(view.light_azimuth), cos_l * math.sin(view.light_azimuth), sin_l)
    return *eye, *right, *up, *ahead, *light, view.brightness


@njit(fastmath=True, cache=True)
def _hit(thing, ox, oy, oz, dx, dy, dz):  # noqa: ANN001, ANN202
    """Distance along a ray to one object, and the surface normal there; a distance of `_FAR` is a miss."""
    half = thing[2]
    px, py, pz = ox - thing[0], oy - thing[1], oz - half
    reach = half * 1.75
    along = -(px * dx + py * dy + pz * dz)
    if along < -reach or px * px + py * py + pz * pz - along * along > reach * reach:
        return _FAR, np.float32(0), np.float32(0), np.float32(0)
    kind = int(thing[4])
    if kind == 1:  # sphere
        inside = along * along - (px * px + py * py + pz * pz - half * half)
        if inside > 0:
            t = along - math.sqrt(inside)
            if t > 1e-3:
                return t, (px + t * dx) / half, (py + t * dy) / half, (pz + t * dz) / half
        return _FAR, np.float32(0), np.float32(0), np.float32(0)
    if kind >= 2:  # upright cylinder
        best, nx, ny, nz = _FAR, np.float32(0), np.float32(0), np.float32(0)
        radius = half * (SLIM if kind == 2 else 1.0)  # 3: as wide as high, as CLEVR's
        a = dx * dx + dy * dy
        b = px * dx + py * dy
        inside = b * b - a * (px * px + py * py - radius * radius)
        if inside > 0 and a > 1e-9:
            t = (-b - math.sqrt(inside)) / a
            if t > 1e-3 and abs(pz + t * dz) <= half:
                best, nx, ny = t, (px + t * dx) / radius, (py + t * dy) / radius
        if dz < -1e-9 or dz > 1e-9:
            face = half if dz < 0 else -half
            t = (face - pz) / dz
            x, y = px + t * dx, py + t * dy
            if 1e-3 < t < best and x * x + y * y <= radius * radius:
                best, nx, ny, nz = t, np.float32(0), np.float32(0), face / half
        return best, nx, ny, nz
    cos, sin = math.cos(thing[3]), math.sin(thing[3])  # cube, turned about the vertical
    qx, qy = px * cos + py * sin, py * cos - px * sin
    ex, ey = dx * cos + dy * sin, dy * cos - dx * sin
    near, far, axis = -_FAR, _FAR, 0
    for k in range(3):
        p = qx if k == 0 else (qy if k == 1 else pz)
        d = ex if k == 0 else (ey if k == 1 else dz)
        if abs(d) < 1e-9:
            d = np.float32(1e-9)
        t0, t1 = (-half - p) / d, (half - p) / d
        if t0 > t1:
            t0, t1 = t1, t0
        if t0 > near:
            near, axis = t0, k
        far = min(far, t1)
    if near > far or near < 1e-3:
        return _FAR, np.float32(0), np.float32(0), np.float32(0)
    if axis == 2:
        return near, np.float32(0), np.float32(0), np.float32(-1 if dz > 0 else 1)
    if axis == 0:
        sign = np.float32(-1 if ex > 0 else 1)
        return near, sign * cos, sign * sin, np.float32(0)
    sign = np.float32(-1 if ey > 0 else 1)
    return near, -sign * sin, sign * cos, np.float32(0)


@njit(fastmath=True, cache=True)
def _shade(things, count, view, u, v):  # noqa: ANN001, ANN202
    """Colour (0 to 1) and object code of the ray through the picture point (u, v), both -1 to 1, v upwards."""
    ox, oy, oz = view[0], view[1], view[2]
    dx = FOCAL * view[9] + u * view[3] + v * view[6]
    dy = FOCAL * view[10] + u * view[4] + v * view[7]
    dz = FOCAL * view[11] + u * view[5] + v * view[8]
    norm = 1 / math.sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx * norm, dy * norm, dz * norm
    best, code = _FAR, _SKY
    nx, ny, nz = np.float32(0), np.float32(0), np.float32(1)
    if dz < -1e-6:
        best, code = -oz / dz, _GROUND
    for slot in range(count):
        t, hx, hy, hz = _hit(things[slot], ox, oy, oz, dx, dy, dz)
        if t < best:
            best, code, nx, ny, nz = t, slot + 1, hx, hy, hz
    lx, ly, lz, power = view[12], view[13], view[14], view[15]
    if code == _SKY:
        return 0.62 * power, 0.64 * power, 0.66 * power, code
    px, py, pz = ox + best * dx, oy + best * dy, oz + best * dz
    lit = nx * lx + ny * ly + nz * lz
    if lit > 0:
        for slot in range(count):
            if slot + 1 != code:
                t, _, _, _ = _hit(things[slot], px, py, pz, lx, ly, lz)
                if t < _FAR:
                    lit = np.float32(0)
                    break
    lit = max(lit, np.float32(0))
    if code == _GROUND:
        away = (px * px + py * py) * 0.006
        tone = (0.30 + 0.42 * lit) * power / (1 + away)
        return tone, tone, tone * 0.99, code
    thing = things[code - 1]
    back = dx * nx + dy * ny + dz * nz
    rx, ry, rz = dx - 2 * back * nx, dy - 2 * back * ny, dz - 2 * back * nz
    gleam = max(rx * lx + ry * ly + rz * lz, np.float32(0)) if lit > 0 else np.float32(0)
    if thing[5] == 0:  # rubber: diffuse, with a dull sheen
        light = (0.26 + 0.86 * lit) * power
        sheen = 0.06 * gleam**6 * power
        return thing[6] * light + sheen, thing[7] * light + sheen, thing[8] * light + sheen, code
    # Metal: bright windows of a dark room above, the ground below (brightest near by), and a hard white highlight.
    # What is mirrored depends on the place and not only on the direction, so that flat faces are not of one tone.
    if rz > 0:
        window = 0.5 + 0.5 * math.sin(2.4 * (px + 1.5 * rx) + 1.6 * (py + 1.5 * ry))
        mirrored = window * window
    else:
        mirrored = 0.7 * math.exp(-1.6 * pz / max(-rz, np.float32(0.05)))
    light = (0.10 + 0.22 * lit + 0.85 * mirrored) * power
    glare = (0.30 * mirrored * mirrored + 0.95 * gleam**24) * power
    return thing[6] * light + glare, thing[7] * light + glare, thing[8] * light + glare, code


@njit(fastmath=True, cache=True)
def _byte(value):  # noqa: ANN001, ANN202
    return np.uint8(min(max(value, 0.0), 1.0) ** 0.8 * 255 + 0.5)


@njit(fastmath=True, cache=True)
def _trace_row(things, counts, views, images, shown, job):  # noqa: ANN001, ANN202
    """One ray through the middle of every pixel of a row; `job` counts the rows of all images."""
    size = images.shape[1]
    image, row = job // size, job % size
    v = np.float32(1 - (2 * row + 1) / size)
    for column in range(size):
        u = np.float32((2 * column + 1) / size - 1)
        red, green, blue, code = _shade(things[image], counts[image], views[image], u, v)
        images[image, row, column, 0] = _byte(red)
        images[image, row, column, 1] = _byte(green)
        images[image, row, column, 2] = _byte(blue)
        shown[image, row, column] = code


@njit(fastmath=True, cache=True)
def _smooth_row(things, counts, views, images, shown, job):  # noqa: ANN001, ANN202
    """Four rays through every pixel of a row that lies at an outline, in place of the one."""
    size = images.shape[1]
    image, row = job // size, job % size
    for column in range(size):
        code = shown[image, row, column]
        if (
            (row == 0 or shown[image, row - 1, column] == code)
            and (row == size - 1 or shown[image, row + 1, column] == code)
            and (column == 0 or shown[image, row, column - 1] == code)
            and (column == size - 1 or shown[image, row, column + 1] == code)
        ):
            continue
        red, green, blue = 0.0, 0.0, 0.0
        for sample in range(4):
            u = np.float32((2 * column + 0.5 + (sample % 2)) / size - 1)
            v = np.float32(1 - (2 * row + 0.5 + (sample // 2)) / size)
            r, g, b, _ = _shade(things[image], counts[image], views[image], u, v)
            red, green, blue = red + r, green + g, blue + b
        images[image, row, column, 0] = _byte(red / 4)
        images[image, row, column, 1] = _byte(green / 4)
        images[image, row, column, 2] = _byte(blue / 4)


# Two functions and not one compiled twice: numba's cache would take the one for the other, and a worker process that
# runs the parallel one after a fork is ended by OpenMP.
@njit(cache=True)
def _draw_serial(things, counts, views, images, shown):  # noqa: ANN001, ANN202
    for job in range(images.shape[0] * images.shape[1]):
        _trace_row(things, counts, views, images, shown, job)
    for job in range(images.shape[0] * images.shape[1]):
        _smooth_row(things, counts, views, images, shown, job)


@njit(parallel=True, cache=True)
def _draw_parallel(things, counts, views, images, shown):  # noqa: ANN001, ANN202
    for job in prange(images.shape[0] * images.shape[1]):
        _trace_row(things, counts, views, images, shown, job)
    for job in prange(images.shape[0] * images.shape[1]):
        _smooth_row(things, counts, views, images, shown, job)
