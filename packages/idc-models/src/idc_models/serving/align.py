"""Photos are seldom taken from one place: lay the later one over the earlier one, and say when that makes no sense.

SIFT features are matched and a homography is fitted to them (Lowe, "Distinctive image features from scale-invariant
keypoints", IJCV 2004; Arandjelovic and Zisserman, "Three things everyone should know", CVPR 2012, for their distance;
Barath et al., "MAGSAC++", CVPR 2020). A homography is exact for a camera that only turns and for flat scenes.
"""

from dataclasses import dataclass
from types import ModuleType

import numpy as np
from jaxtyping import Bool, Float, Num, UInt8
from numpy.typing import NDArray
from PIL import Image

ALIGNED = 2048  # pixels of the longer side at which photos are aligned
_LONGEST = 1024  # pixels at which photos are matched: more takes longer and finds no better transformation
_FEATURES = 2000
_RATIO = 0.8  # of the distances to the best and the second best match (Lowe)
_REPROJECTION = 3.0  # pixels

# Over 500 pairs of unrelated photos the most that agreed was 6; the fewest of a right homography are a dozen.
_LEAST_INLIERS = 10
_LEAST_SHARE = 0.3  # of the matches
_LEAST_OVERLAP = 0.25
_MOST_ZOOM = 4.0


@dataclass(frozen=True)
class Aligned:
    """The later image in the frame of the earlier one.

    Attributes:
        after: `before`'s height and width; where the later photo shows nothing, the pixels are `before`'s, so that
            nothing there reads as a change.
        found: Whether a transformation was found; if not, `after` is only resized.
        overlap: Part of `before`'s frame that the later photo shows, 0 to 1.
        note: Why nothing was found, in one sentence.
    """

    after: NDArray[np.uint8]
    found: bool
    overlap: float
    note: str | None


def align(before: UInt8[np.ndarray, "h w 3"], after: UInt8[np.ndarray, "later_h later_w 3"]) -> Aligned:
    """Register `after` onto `before` by matched features and a homography.

    Where no trustworthy homography is found (too few features, a scene with depth, another scene), `after` is only
    resized. Where the images already lie on each other, or lie so better than after the transformation (when what
    moved has all the features), nothing is moved either.

    Raises:
        ValueError: OpenCV is not installed.
    """
    cv2 = _opencv()
    h, w = before.shape[:2]
    resized = after if after.shape == before.shape else _resize(cv2, after, w, h)
    try:
        matched = _match(cv2, before, after)
        warp = _homography(cv2, matched, before, after)
    except _NotFoundError as reason:
        return Aligned(resized, False, 1.0, f"could not be aligned: {reason}")
    straight = _scaling(w / after.shape[1], h / after.shape[0])
    if np.abs(_corners(warp, after) - _corners(straight, after)).max() < 1:
        return Aligned(resized, True, 1.0, None)
    moved, shown = _warped(cv2, after, warp, w, h)
    if _likeness(cv2, before, moved, shown) <= _likeness(cv2, before, resized, shown):
        return Aligned(resized, True, 1.0, None)
    # The border of the photo fades into what fills the rest: a hard edge would be a change to see.
    width = max(2.0, 0.01 * min(h, w))
    framed = cv2.copyMakeBorder(shown.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    inside = cv2.distanceTransform(framed, cv2.DIST_L2, 3)[1:-1, 1:-1]
    weight = np.minimum(inside / width, 1).astype(np.float32)[..., None]
    mixed = np.rint(moved * weight + before * (1 - weight)).astype(np.uint8)
    return Aligned(mixed, True, float(shown.mean()), None)


def as_seen(
    before: UInt8[np.ndarray, "h w 3"], after: UInt8[np.ndarray, "later_h later_w 3"], *, register: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str | None]:
    """The two images as a model gets to see them, and what to know about them, if anything.

    Args:
        before: The earlier image.
        after: The later image.
        register: Align them, with large photos made smaller; a pair that is too unlike to compare stays as it is.

    Raises:
        ValueError: OpenCV is not installed, and the images are to be aligned.
    """
    note = unlike(before, after)
    if not register or note:
        return before, after, note
    # A model sees far fewer pixels, and the whole of a large photo would take a gigabyte and seconds.
    first, second = _shrunk(before), _shrunk(after)
    aligned = align(first, second)
    return first, aligned.after, aligned.note


def _shrunk(image: UInt8[np.ndarray, "h w 3"]) -> NDArray[np.uint8]:
    scale = ALIGNED / max(image.shape[:2])
    sides = (max(1, round(scale * side)) for side in image.shape[1::-1])
    return image if scale >= 1 else _resize(_opencv(), image, *sides)


def unlike(before: UInt8[np.ndarray, "h w 3"], after: UInt8[np.ndarray, "later_h later_w 3"]) -> str | None:
    """Say in one sentence that two images are too unlike to compare; None where they may show one scene.

    Conservative: only images that share few colours, have no common lines and brightness, are rich in features and
    have no matching ones are called unlike. Two satellite images of a place, years and many houses apart, are not.
    The features are looked at only where all else speaks against the pair; without OpenCV nothing is called unlike.
    """
    # By these thresholds none of 30 real, 160 rendered and edited pairs is called unlike, and a third of 300 pairs of
    # unrelated photos is.
    first, second = _small(before, 64), _small(after, 64)
    # The likelier and quicker test first: a server asks this of every pair.
    if _correlation(_grey(first), _grey(second)) >= 0.4 or _shared_colours(first, second) >= 0.3:
        return None
    if _cosine(*(np.array(np.gradient(_grey(_small(side, 32)))) for side in (before, after))) >= 0.1:
        return None
    try:
        cv2 = _opencv()
        _homography(cv2, _match(cv2, before, after), before, after)
    except ValueError:
        return None
    except _NotFoundError as reason:
        if reason.num_features < 60:
            return None  # a drawing or a plain wall: nothing to judge by
        return "the images share hardly a colour, line or feature: they seem to show different scenes"
    return None


class _NotFoundError(Exception):
    """No trustworthy homography."""

    def __init__(self, reason: str, num_features: int) -> None:
        super().__init__(reason)
        self.num_features = num_features


@dataclass(frozen=True)
class _Matched:
    before: NDArray[np.float32]  # m 2, in pixels of the image as given
    after: NDArray[np.float32]
    scale: float  # of `before` while it was matched
    num_features: int  # of the image that has fewer


def _match(cv2: ModuleType, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> _Matched:
    sides = []
    for image in (before, after):
        scale = min(1.0, _LONGEST / max(image.shape[:2]))
        size = [max(1, round(scale * side)) for side in image.shape[1::-1]]
        small = image if scale == 1 else _resize(cv2, image, *size)
        points, features = cv2.SIFT_create(_FEATURES).detectAndCompute(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), None)
        grown = _scaling(image.shape[1] / small.shape[1], image.shape[0] / small.shape[0])
        places = np.array([point.pt for point in points]).reshape(-1, 2) * np.diag(grown)[:2] + grown[:2, 2]
        sides.append((places.astype(np.float32), features, scale))
    (points, features, scale), (later_points, later_features, _) = sides
    fewer = min(len(points), len(later_points))
    if fewer < _LEAST_INLIERS:
        raise _NotFoundError(f"one of the images has only {fewer} features to match", fewer)
    # Hellinger's distance ("RootSIFT"); a match is each other's best, and clearly better than the second best.
    root, later_root = (
        np.sqrt(side / np.maximum(side.sum(1, keepdims=True), 1e-6)) for side in (features, later_features)
    )
    distance = np.sqrt(np.maximum(2 - 2 * root @ later_root.T, 0))
    best = distance.argmin(1)
    nearest = np.partition(distance, 1, axis=1)
    rows = np.flatnonzero(
        (distance.argmin(0)[best] == np.arange(len(points))) & (nearest[:, 0] < _RATIO * nearest[:, 1])
    )
    # A point with two orientations has two features: it counts once.
    both = np.hstack([points[rows], later_points[best[rows]]])
    both = both[np.unique(np.rint(both), axis=0, return_index=True)[1]]
    return _Matched(both[:, :2], both[:, 2:], scale, fewer)


def _homography(
    cv2: ModuleType, matched: _Matched, before: NDArray[np.uint8], after: NDArray[np.uint8]
) -> Float[np.ndarray, "3 3"]:
    """The transformation from `after`'s pixels to `before`'s, if it can be trusted."""
    num, fewer = len(matched.before), matched.num_features
    inliers, warp = 0, None
    if num >= _LEAST_INLIERS:
        warp, mask = cv2.findHomography(
            matched.after,
            matched.before,
            cv2.USAC_MAGSAC,
            _REPROJECTION / matched.scale,
            maxIters=5000,
            confidence=0.999,
        )
        inliers = 0 if warp is None else int(mask.sum())
    if warp is None or inliers < max(_LEAST_INLIERS, _LEAST_SHARE * num):
        raise _NotFoundError("too few points of the images match", fewer)
    quad = _corners(warp, after)
    h, w = before.shape[:2]
    # A photo that was taken of the same scene is neither torn, nor mirrored, nor a speck.
    sides = np.roll(quad, -1, 0) - quad
    turns = sides[:, 0] * np.roll(sides, -1, 0)[:, 1] - sides[:, 1] * np.roll(sides, -1, 0)[:, 0]
    depth = np.column_stack([_frame(after), np.ones(4)]) @ warp[2]
    zoom = np.sqrt(cv2.contourArea(quad.astype(np.float32)) / (h * w))
    if not (turns > 0).all() or not (depth > 0).all() or not 1 / _MOST_ZOOM < zoom < _MOST_ZOOM:
        raise _NotFoundError("the matching points fit no view of one scene", fewer)
    frame = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    overlap = cv2.intersectConvexConvex(quad.astype(np.float32), frame)[0] / (h * w)
    if overlap < _LEAST_OVERLAP:
        raise _NotFoundError(f"the images have only {overlap:.0%} of the scene in common", fewer)
    return warp


def _warped(
    cv2: ModuleType, after: NDArray[np.uint8], warp: NDArray[np.float64], w: int, h: int
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """The transformed image, and where it shows anything."""
    area = cv2.contourArea(_corners(warp, after).astype(np.float32)) / (after.shape[0] * after.shape[1])
    shrink = float(np.sqrt(area))
    if shrink < 0.7:  # the warp samples points: what shrinks has to be averaged first
        size = [max(1, round(shrink * side)) for side in after.shape[1::-1]]
        warp = warp @ _scaling(after.shape[1] / size[0], after.shape[0] / size[1])
        after = _resize(cv2, after, *size)
    moved = cv2.warpPerspective(after, warp, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    shown = cv2.warpPerspective(np.full(after.shape[:2], 255, np.uint8), warp, (w, h), flags=cv2.INTER_NEAREST) > 0
    return moved, shown


def _likeness(cv2: ModuleType, before: NDArray[np.uint8], after: NDArray[np.uint8], shown: NDArray[np.bool_]) -> float:
    """How well brightness agrees where both images show something."""
    scale = min(1.0, 256 / max(before.shape[:2]))
    w, h = (max(1, round(scale * side)) for side in before.shape[1::-1])
    inside = cv2.resize(shown.astype(np.uint8), (w, h), interpolation=cv2.INTER_NEAREST) > 0
    first, second = (cv2.GaussianBlur(_grey(_resize(cv2, side, w, h)), (0, 0), 1)[inside] for side in (before, after))
    return _correlation(first, second)


def _shared_colours(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Intersection of coarse colour histograms, 0 to 1."""
    counts = []
    for image in (first, second):
        level, blue, red = np.moveaxis(np.asarray(Image.fromarray(image).convert("YCbCr")), 2, 0)
        counts.append(np.bincount((level // 64 * 64 + blue // 32 * 8 + red // 32).ravel(), minlength=256) / level.size)
    return float(np.minimum(*counts).sum())


def _small(image: NDArray[np.uint8], size: int) -> UInt8[np.ndarray, "size size 3"]:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BOX))


def _grey(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    return (image @ np.array([0.299, 0.587, 0.114])).astype(np.float32)


def _correlation(first: Num[np.ndarray, "..."], second: Num[np.ndarray, "..."]) -> float:
    return _cosine(first - first.mean(), second - second.mean())


def _cosine(first: Num[np.ndarray, "..."], second: Num[np.ndarray, "..."]) -> float:
    return float((first * second).sum() / max(np.sqrt((first**2).sum() * (second**2).sum()), 1e-6))


def _frame(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    h, w = image.shape[:2]
    return np.array([[0, 0], [w, 0], [w, h], [0, h]], float)


def _corners(warp: NDArray[np.float64], image: NDArray[np.uint8]) -> Float[np.ndarray, "4 2"]:
    """Where the transformation takes the image's corners, clockwise from the upper left one."""
    x, y, depth = warp @ np.column_stack([_frame(image), np.ones(4)]).T
    return np.column_stack([x, y]) / np.where(np.abs(depth) < 1e-9, 1e-9, depth)[:, None]


def _scaling(x: float, y: float) -> Float[np.ndarray, "3 3"]:
    """The transformation of a resize: coordinates are those of pixels' centres."""
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def _resize(cv2: ModuleType, image: NDArray[np.uint8], w: int, h: int) -> UInt8[np.ndarray, "h w 3"]:
    shrinks = w * h < image.shape[0] * image.shape[1]
    return cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _opencv() -> ModuleType:
    """OpenCV: imported where it is needed, since most callers align nothing."""
    try:
        import cv2
    except ImportError as error:
        raise ValueError(
            'aligning needs OpenCV, which is missing; in the checkout: uv pip install "./packages/idc-models[align]"'
        ) from error
    return cv2
