"""Aligns two photos that were not taken from the same position, and detects pairs that cannot be compared.

SIFT features are matched and a homography is fitted to them (Lowe, "Distinctive image features from scale-invariant
keypoints", IJCV 2004; Arandjelovic and Zisserman, "Three things everyone should know", CVPR 2012, for their distance;
Barath et al., "MAGSAC++", CVPR 2020). A homography is exact for a camera that only rotates and for planar scenes.
"""

from dataclasses import dataclass
from types import ModuleType

import numpy as np
from jaxtyping import Bool, Float, Num, UInt8
from numpy.typing import NDArray
from PIL import Image

ALIGNED = 2048  # pixels of the longer side at which photos are aligned
_LONGEST = 1024  # pixels of the longer side for matching: more takes longer and does not improve the result
_FEATURES = 2000
_RATIO = 0.8  # maximum ratio of the distances to the best and second-best match (Lowe)
_REPROJECTION = 3.0  # pixels

# In 500 pairs of unrelated photos at most 6 matches agreed; a correct homography has at least a dozen.
_LEAST_INLIERS = 10
_LEAST_SHARE = 0.3  # of the matches
_LEAST_OVERLAP = 0.25
_MOST_ZOOM = 4.0


@dataclass(frozen=True)
class Aligned:
    """The after image in the frame of the before image.

    Attributes:
        after: The transformed image, with `before`'s height and width. Pixels outside the after photo are copied from
            `before`, so that they show no change.
        found: Whether a transformation was found; if not, `after` is only resized.
        overlap: Share of `before`'s frame that the after photo covers, 0 to 1.
        note: Why none was found, in one sentence.
    """

    after: NDArray[np.uint8]
    found: bool
    overlap: float
    note: str | None


def align(before: UInt8[np.ndarray, "h w 3"], after: UInt8[np.ndarray, "later_h later_w 3"]) -> Aligned:
    """Register `after` onto `before` by matched features and a homography.

    If no reliable homography is found (too few features, a scene with depth, another scene), `after` is only resized.
    It is also only resized if the images are already aligned, or match better without the transformation, as when the
    moved object has all the features.

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
    # Blend the border of the photo into the filling: a hard edge would look like a change.
    width = max(2.0, 0.01 * min(h, w))
    framed = cv2.copyMakeBorder(shown.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    inside = cv2.distanceTransform(framed, cv2.DIST_L2, 3)[1:-1, 1:-1]
    weight = np.minimum(inside / width, 1).astype(np.float32)[..., None]
    mixed = np.rint(moved * weight + before * (1 - weight)).astype(np.uint8)
    return Aligned(mixed, True, float(shown.mean()), None)


def as_seen(
    before: UInt8[np.ndarray, "h w 3"], after: UInt8[np.ndarray, "later_h later_w 3"], *, register: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str | None]:
    """Return the two images as the model sees them, and a note about the pair, if any.

    Args:
        before: The before image.
        after: The after image.
        register: Shrink large photos and align them; a pair that is too different to compare is returned unchanged.

    Raises:
        ValueError: `register` is set and OpenCV is not installed.
    """
    note = unlike(before, after)
    if not register or note:
        return before, after, note
    # A model sees far fewer pixels, and aligning a large photo at full size would take a gigabyte and seconds.
    first, second = _shrunk(before), _shrunk(after)
    aligned = align(first, second)
    return first, aligned.after, aligned.note


def _shrunk(image: UInt8[np.ndarray, "h w 3"]) -> NDArray[np.uint8]:
    scale = ALIGNED / max(image.shape[:2])
    sides = (max(1, round(scale * side)) for side in image.shape[1::-1])
    return image if scale >= 1 else _resize(_opencv(), image, *sides)


def unlike(before: UInt8[np.ndarray, "h w 3"], after: UInt8[np.ndarray, "later_h later_w 3"]) -> str | None:
    """Return one sentence if two images are too different to compare; None if they may show the same scene.

    The test is conservative: the images must share few colours, differ in edges and brightness, and have many features
    but no matching ones. Two satellite images of the same place, years and many houses apart, do not qualify. Features
    are computed only if all other tests fail; without OpenCV the result is always None.
    """
    # With these thresholds, none of 30 real and 160 rendered and edited pairs is called too different, and a third of
    # 300 pairs of unrelated photos is.
    first, second = _small(before, 64), _small(after, 64)
    # Fast tests that most pairs pass come first, because a server runs this on every pair.
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
            return None  # a drawing or a plain wall has too few features to judge
        return "the images share hardly any colours, lines or features: they seem to show different scenes"
    return None


class _NotFoundError(Exception):
    """No reliable homography was found."""

    def __init__(self, reason: str, num_features: int) -> None:
        super().__init__(reason)
        self.num_features = num_features


@dataclass(frozen=True)
class _Matched:
    before: NDArray[np.float32]  # m 2, in pixels of the original image
    after: NDArray[np.float32]
    scale: float  # scale of `before` during matching
    num_features: int  # of the image with fewer features


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
    # Hellinger distance ("RootSIFT"). Matches are mutual, and clearly better than the second best.
    root, later_root = (
        np.sqrt(side / np.maximum(side.sum(1, keepdims=True), 1e-6)) for side in (features, later_features)
    )
    distance = np.sqrt(np.maximum(2 - 2 * root @ later_root.T, 0))
    best = distance.argmin(1)
    nearest = np.partition(distance, 1, axis=1)
    rows = np.flatnonzero(
        (distance.argmin(0)[best] == np.arange(len(points))) & (nearest[:, 0] < _RATIO * nearest[:, 1])
    )
    # A point with two orientations has two features; count it once.
    both = np.hstack([points[rows], later_points[best[rows]]])
    both = both[np.unique(np.rint(both), axis=0, return_index=True)[1]]
    return _Matched(both[:, :2], both[:, 2:], scale, fewer)


def _homography(
    cv2: ModuleType, matched: _Matched, before: NDArray[np.uint8], after: NDArray[np.uint8]
) -> Float[np.ndarray, "3 3"]:
    """Return the transformation from `after`'s pixels to `before`'s, if it is reliable."""
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
    # A photo of the same scene is neither torn nor mirrored, and its scale is similar.
    sides = np.roll(quad, -1, 0) - quad
    turns = sides[:, 0] * np.roll(sides, -1, 0)[:, 1] - sides[:, 1] * np.roll(sides, -1, 0)[:, 0]
    depth = np.column_stack([_frame(after), np.ones(4)]) @ warp[2]
    zoom = np.sqrt(cv2.contourArea(quad.astype(np.float32)) / (h * w))
    if not (turns > 0).all() or not (depth > 0).all() or not 1 / _MOST_ZOOM < zoom < _MOST_ZOOM:
        raise _NotFoundError("the matching points do not fit two views of one scene", fewer)
    frame = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    overlap = cv2.intersectConvexConvex(quad.astype(np.float32), frame)[0] / (h * w)
    if overlap < _LEAST_OVERLAP:
        raise _NotFoundError(f"the images have only {overlap:.0%} of the scene in common", fewer)
    return warp


def _warped(
    cv2: ModuleType, after: NDArray[np.uint8], warp: NDArray[np.float64], w: int, h: int
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """Return the transformed image, and a mask of the pixels that it covers."""
    area = cv2.contourArea(_corners(warp, after).astype(np.float32)) / (after.shape[0] * after.shape[1])
    shrink = float(np.sqrt(area))
    if shrink < 0.7:  # the warp samples points, so average first when shrinking
        size = [max(1, round(shrink * side)) for side in after.shape[1::-1]]
        warp = warp @ _scaling(after.shape[1] / size[0], after.shape[0] / size[1])
        after = _resize(cv2, after, *size)
    moved = cv2.warpPerspective(after, warp, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    shown = cv2.warpPerspective(np.full(after.shape[:2], 255, np.uint8), warp, (w, h), flags=cv2.INTER_NEAREST) > 0
    return moved, shown


def _likeness(cv2: ModuleType, before: NDArray[np.uint8], after: NDArray[np.uint8], shown: NDArray[np.bool_]) -> float:
    """Return the correlation of brightness where both images have pixels."""
    scale = min(1.0, 256 / max(before.shape[:2]))
    w, h = (max(1, round(scale * side)) for side in before.shape[1::-1])
    inside = cv2.resize(shown.astype(np.uint8), (w, h), interpolation=cv2.INTER_NEAREST) > 0
    first, second = (cv2.GaussianBlur(_grey(_resize(cv2, side, w, h)), (0, 0), 1)[inside] for side in (before, after))
    return _correlation(first, second)


def _shared_colours(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Return the intersection of coarse colour histograms, 0 to 1."""
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
    """Return the transformed corners of the image, clockwise from the upper left."""
    x, y, depth = warp @ np.column_stack([_frame(image), np.ones(4)]).T
    return np.column_stack([x, y]) / np.where(np.abs(depth) < 1e-9, 1e-9, depth)[:, None]


def _scaling(x: float, y: float) -> Float[np.ndarray, "3 3"]:
    """Return the transformation of a resize; coordinates refer to the centres of pixels."""
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def _resize(cv2: ModuleType, image: NDArray[np.uint8], w: int, h: int) -> UInt8[np.ndarray, "h w 3"]:
    shrinks = w * h < image.shape[0] * image.shape[1]
    return cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _opencv() -> ModuleType:
    """Import OpenCV, which only alignment needs."""
    try:
        import cv2
    except ImportError as error:
        raise ValueError(
            "aligning needs OpenCV, which is not installed; in the checkout, run: uv pip install "
            '"./packages/idc-models[align]"'
        ) from error
    return cv2
