"""Stage 2, pair: which images are alike enough to be compared, and not the same."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from pydantic import Field, PositiveInt

from idc_data.generate.embed import EMBEDDERS, Embedder
from idc_data.generate.stage import Rows
from idc_data.named import resolve

PAIRERS = {
    "similar": "idc_data.generate.pair:Similar",
    "given": "idc_data.generate.pair:Given",
    "consecutive": "idc_data.generate.pair:Consecutive",
}
"""Name -> class with the method `__call__(images, root, progress) -> (rows of PAIRS, notes)`."""

PAIRS = pa.schema(
    [("pair", pa.string()), ("before", pa.string()), ("after", pa.string()), ("similarity", pa.float64())]
)
"""One row per pair: its name, the identities of its images, their cosine similarity where it was computed."""

Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Wraps something that is gone through: (what, description, length)."""

_Cosine = Annotated[float, Field(ge=-1, le=1)]
_BATCH = 64


class Similar:
    """Nearest neighbours by embedding, inside a window of similarity, each image in few pairs.

    The most similar pairs come first; of equally similar ones those whose identities come first, so that the same
    images always give the same pairs.

    Args:
        embedding: An embedder by name, with its settings.
        low: Least cosine similarity.
        high: Largest one; beyond it two images are as good as the same.
        per_image: Most pairs that an image is in.
        neighbours: Nearest neighbours that are looked at, per image.
        same_hash: Images whose perceptual hashes (pHash, 64 bits) differ in no more bits than this are the same.
        exact_below: With fewer images than this every one is compared with every one, with more an HNSW graph is built.
    """

    def __init__(
        self,
        *,
        embedding: str | dict[str, Any] = "timm",
        low: _Cosine = 0.6,
        high: _Cosine = 0.97,
        per_image: PositiveInt = 3,
        neighbours: PositiveInt = 20,
        same_hash: Annotated[int, Field(ge=-1, le=64)] = 4,
        exact_below: PositiveInt = 50_000,
    ) -> None:
        if low >= high:
            raise ValueError(f"pair 'similar': low is {low} and high is {high}, expected low < high")
        self._low, self._high, self._per_image = low, high, per_image
        self._neighbours, self._same_hash, self._exact_below = neighbours, same_hash, exact_below
        self._embedder, self._settings = resolve("embedding", embedding, EMBEDDERS)

    def __call__(self, images: Rows, root: Path, progress: Progress) -> tuple[Rows, dict[str, Any]]:
        """Finds the pairs."""
        images = sorted(images, key=lambda row: row["image"])
        paths = [root / row["path"] for row in images]
        parts = [paths[start : start + _BATCH] for start in range(0, len(paths), _BATCH)]
        embed: Embedder = self._embedder(**self._settings)
        vectors = np.concatenate([embed(part) for part in progress(parts, "embed", len(parts))])
        found = self._candidates(vectors)
        rows: Rows = []
        taken, hashes = Counter[int](), _Hashes(paths)
        outside, same, full = 0, 0, 0
        for (first, second), cosine in sorted(found.items(), key=lambda item: (-item[1], item[0])):
            if not self._low <= cosine <= self._high:
                outside += 1
            elif max(taken[first], taken[second]) >= self._per_image:
                full += 1
            elif hashes.bits_apart(first, second) <= self._same_hash:
                same += 1
            else:
                taken.update((first, second))
                rows.append(_row(images[first]["image"], images[second]["image"], cosine))
        notes = {"neighbours": len(found), "outside of the window": outside, "same picture": same, "image full": full}
        return rows, notes

    def _candidates(self, vectors: Float[np.ndarray, "n d"]) -> dict[tuple[int, int], float]:
        """Neighbouring rows, the smaller index first, and their cosine similarity to 4 digits."""
        import faiss

        num, dim = vectors.shape
        index = (
            faiss.IndexFlatIP(dim)
            if num < self._exact_below
            else faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
        )
        index.add(vectors)  # pyright: ignore[reportCallIssue]
        cosines, others = index.search(vectors, min(self._neighbours + 1, num))  # pyright: ignore[reportCallIssue]
        return {
            (min(one, other), max(one, other)): round(float(cosine), 4)
            for one, row in enumerate(others.tolist())
            for other, cosine in zip(row, cosines[one], strict=True)
            if other not in (one, -1)
        }


class Given:
    """Pairs that the user has: a CSV file with the columns `before` and `after`, paths as `collect` sees them.

    Args:
        file: The CSV file, in UTF-8.

    Raises:
        FileNotFoundError: There is no such file.
    """

    def __init__(self, *, file: Path) -> None:
        self._file = file
        if not file.is_file():
            raise FileNotFoundError(f"pair 'given': there is no file {str(file)!r}")

    def __call__(self, images: Rows, root: Path, progress: Progress) -> tuple[Rows, dict[str, Any]]:
        """Looks the pairs up.

        Raises:
            ValueError: A column is missing, or a path is none of a whole image; the line is named.
        """
        known = {path: row["image"] for row in images for path in (row["path"], *row["copies"])}
        rows: dict[str, dict[str, Any]] = {}
        with self._file.open(encoding="utf-8", newline="") as text:
            lines = csv.DictReader(text)
            if missing := {"before", "after"} - set(lines.fieldnames or ()):
                raise ValueError(f"{self._file}: no column {', '.join(sorted(missing))}; expected before,after")
            for line in lines:
                for side in ("before", "after"):
                    if line[side] not in known:
                        raise ValueError(
                            f"{self._file}:{lines.line_num}: {side} {line[side]!r} is no image of `collect`"
                        )
                row = _row(known[line["before"]], known[line["after"]], None)
                rows[row["pair"]] = row
        return list(rows.values()), {}


class Consecutive:
    """Each image with one that comes later: frames of a video, or one place over time, in the order of their paths.

    Images in different folders are not paired.

    Args:
        step: How many images later.
    """

    def __init__(self, *, step: PositiveInt = 1) -> None:
        self._step = step

    def __call__(self, images: Rows, root: Path, progress: Progress) -> tuple[Rows, dict[str, Any]]:
        """Pairs them up."""
        folders: dict[Path, list[str]] = {}
        for path, image in sorted((path, row["image"]) for row in images for path in (row["path"], *row["copies"])):
            folders.setdefault(Path(path).parent, []).append(image)
        pairs = [pair for frames in folders.values() for pair in zip(frames, frames[self._step :], strict=False)]
        rows = {row["pair"]: row for row in (_row(before, after, None) for before, after in pairs if before != after)}
        return list(rows.values()), {"frames that did not change": sum(before == after for before, after in pairs)}


def _row(before: str, after: str, cosine: float | None) -> dict[str, Any]:
    return {"pair": f"{before}-{after}", "before": before, "after": after, "similarity": cosine}


class _Hashes:
    """Perceptual hashes, each computed when it is first asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths, self._known = paths, {}

    def bits_apart(self, first: int, second: int) -> int:
        return int(self._hash(first) - self._hash(second))

    def _hash(self, index: int) -> Any:
        import imagehash
        from PIL import Image

        from idc_data.example import load_image

        if index not in self._known:
            self._known[index] = imagehash.phash(Image.fromarray(load_image(self._paths[index])))
        return self._known[index]
