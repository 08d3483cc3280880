"""Stage 2, pair: images that are similar enough to be compared, and not the same."""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from pydantic import Field, PositiveInt

from idc_data.example import SPLITS
from idc_data.generate.ask import Asking
from idc_data.generate.collect import dataset_pairs
from idc_data.generate.embed import EMBEDDERS, embed
from idc_data.generate.stage import Rows
from idc_data.named import resolve
from idc_data.places import plain_name
from idc_data.rows import METADATA
from idc_data.text import read_text

PAIRERS = {
    "similar": "idc_data.generate.pair:Similar",
    "given": "idc_data.generate.pair:Given",
    "consecutive": "idc_data.generate.pair:Consecutive",
    "edited": "idc_data.generate.pair:Edited",
    "folders": "idc_data.generate.pair:Folders",
    "dataset": "idc_data.generate.pair:Dataset",
}
"""Name -> class with the method `__call__(images, root, asking) -> (rows of PAIRS, notes)`."""

PAIRS = pa.schema(
    [("pair", pa.string()), ("before", pa.string()), ("after", pa.string()), ("similarity", pa.float64())]
)
"""One row per pair: its name, the identities of its images, and their cosine similarity if it was computed."""

_Cosine = Annotated[float, Field(ge=-1, le=1)]
_EXACT_BELOW = 50_000


class Similar:
    """Nearest neighbours by embedding, within a range of similarity, each image in few pairs.

    The most similar pairs come first, and equally similar ones in the order of their identities, so that the same
    images always give the same pairs.

    Args:
        embedding: An embedder by name, with its settings.
        low: Least cosine similarity.
        high: Largest cosine similarity; above it, two images are nearly the same.
        per_image: Most pairs that an image is in.
        neighbours: Nearest neighbours considered per image.
        same_hash: Images whose perceptual hashes (pHash, 64 bits) differ in no more bits than this are the same.
        index: FAISS index: `exact` compares every image with every one, `ivf` with those in the nearest cells, `hnsw`
            follows a graph; `auto` is `exact` below 50,000 images and `ivf` from there.
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
        index: Literal["auto", "exact", "ivf", "hnsw"] = "auto",
    ) -> None:
        if low >= high:
            raise ValueError(f"pair 'similar': low is {low} and high is {high}, expected low < high")
        self._low, self._high, self._per_image = low, high, per_image
        self._neighbours, self._same_hash, self._index = neighbours, same_hash, index
        self._embedder, self._settings = resolve("embedding", embedding, EMBEDDERS)

    def __call__(self, images: Rows, root: Path, asking: Asking) -> tuple[Rows, dict[str, Any]]:
        """Return the pairs, and how many neighbours were left out for which reason."""
        images = sorted(images, key=lambda row: row["image"])
        vectors = embed(self._embedder(**self._settings), images, root, asking)
        found = _neighbours(vectors, min(self._neighbours + 1, len(images)), self._index)
        rows: Rows = []
        taken = Counter[int]()
        outside, same, full = 0, 0, 0
        for (first, second), cosine in sorted(found.items(), key=lambda item: (-item[1], item[0])):
            if not self._low <= cosine <= self._high:
                outside += 1
            elif max(taken[first], taken[second]) >= self._per_image:
                full += 1
            elif _bits_apart(images[first]["hash"], images[second]["hash"]) <= self._same_hash:
                same += 1
            else:
                taken.update((first, second))
                rows.append(_row(images[first]["image"], images[second]["image"], cosine))
        notes = {"neighbours": len(found), "outside of the window": outside, "same picture": same, "image full": full}
        return rows, notes


def _neighbours(vectors: Float[np.ndarray, "n d"], num: int, kind: str) -> dict[tuple[int, int], float]:
    """Neighbouring rows, the smaller index first, and their cosine similarity to 4 digits."""
    import faiss

    index = _index(faiss, vectors, kind)
    cosines, others = index.search(vectors, num)
    return {
        (min(one, other), max(one, other)): round(float(cosine), 4)
        for one, row in enumerate(others.tolist())
        for other, cosine in zip(row, cosines[one], strict=True)
        if other not in (one, -1)
    }


def _index(faiss: Any, vectors: Float[np.ndarray, "n d"], kind: str) -> Any:
    num, dim = vectors.shape
    if kind == "auto":
        kind = "exact" if num < _EXACT_BELOW else "ivf"
    if kind == "exact":
        index = faiss.IndexFlatIP(dim)
    elif kind == "ivf":
        cells = max(1, min(int(4 * num**0.5), num // 39))  # 39: what the clustering wants per cell
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed = 0
        index.train(vectors)
        index.nprobe = max(8, cells // 32)
    else:
        index = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
    threads = faiss.omp_get_max_threads()
    if kind == "hnsw":
        faiss.omp_set_num_threads(1)  # more would build another graph every time
    index.add(vectors)
    faiss.omp_set_num_threads(threads)
    return index


def _bits_apart(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


class Given:
    """Pairs that the user has: a CSV file with the columns `before` and `after`, paths as `collect` sees them.

    Args:
        file: The CSV file, in UTF-8 or UTF-16, with commas, semicolons or tabs.

    Raises:
        FileNotFoundError: There is no such file.
    """

    def __init__(self, *, file: Path) -> None:
        self._file = file
        if not file.is_file():
            raise FileNotFoundError(f"pair 'given': there is no file {str(file)!r}")

    def __call__(self, images: Rows, root: Path, asking: Asking) -> tuple[Rows, dict[str, Any]]:
        """Return the pairs of the file.

        Raises:
            ValueError: A column is missing, or a path is not an image that was collected; the message names the line.
        """
        known = _by_path(images)
        rows: list[tuple[str, str]] = []
        text = io.StringIO(read_text(self._file), newline="")
        first = text.readline()
        if not (hidden := first.startswith("sep=")):  # Excel writes such a line, and does not show it
            text.seek(0)
        lines = csv.DictReader(text, delimiter=max(",;\t", key=first.count))
        if missing := {"before", "after"} - set(lines.fieldnames or ()):
            raise ValueError(f"{self._file}: no column {', '.join(sorted(missing))}; expected before,after")
        for line in lines:
            for side in ("before", "after"):
                if _key(line[side] or "") not in known:
                    number = lines.line_num + hidden
                    raise ValueError(f"{self._file}:{number}: {side} {line[side]!r} is no image of `collect`")
            rows.append((known[_key(line["before"])], known[_key(line["after"])]))
        return _distinct(rows)


class Edited:
    """Each image with its edited version: `lake.jpg` and `lake_edited.png`, in one folder.

    Args:
        suffix: What the name of the edited version has more, before its ending; several versions may follow it, as in
            `lake_edited2.png`.
    """

    def __init__(self, *, suffix: str = "_edited") -> None:
        if not suffix:
            raise ValueError("pair 'edited': suffix is empty, expected such as '_edited'")
        self._suffix = suffix

    def __call__(self, images: Rows, root: Path, asking: Asking) -> tuple[Rows, dict[str, Any]]:
        """Return the pairs."""
        known = _by_path(images)
        originals = {path.with_suffix(""): image for path, image in known.items() if self._suffix not in path.stem}
        edited = [(path, image) for path, image in sorted(known.items()) if self._suffix in path.stem]
        found = [
            (originals.get(path.with_name(path.stem.rpartition(self._suffix)[0])), image) for path, image in edited
        ]
        rows, notes = _distinct((before, after) for before, after in found if before)
        return rows, {"edited images without an original": sum(not before for before, _ in found), **notes}


class Folders:
    """Images of the same name in two folders, which may have folders below them, as LEVIR-CC's `A` and `B` are.

    Args:
        before: The folder of the images before, as `collect` sees it.
        after: The folder of the images after.
    """

    def __init__(self, *, before: Path = Path("A"), after: Path = Path("B")) -> None:
        self._before, self._after = before, after

    def __call__(self, images: Rows, root: Path, asking: Asking) -> tuple[Rows, dict[str, Any]]:
        """Return the pairs.

        Raises:
            ValueError: There is no image in one of the folders.
        """
        sides = []
        for folder in (self._before, self._after):
            top, known = _key(str(folder)), sorted(_by_path(images).items())
            below = {path.relative_to(top): image for path, image in known if path.is_relative_to(top)}
            if not below:
                raise ValueError(f"pair 'folders': there is no image in {str(folder)!r} of {str(root)!r}")
            sides.append(below)
        before, after = sides
        rows, notes = _distinct((before[path], after[path]) for path in before if path in after)
        return rows, {"images without a counterpart": len(before.keys() ^ after.keys()), **notes}


class Dataset:
    """The pairs of a dataset in the project's own layout, to be captioned anew.

    Args:
        splits: Which of its splits.
    """

    def __init__(self, *, splits: tuple[str, ...] = SPLITS) -> None:
        self._files = [Path(split) / METADATA for split in splits]

    def __call__(self, images: Rows, root: Path, asking: Asking) -> tuple[Rows, dict[str, Any]]:
        """Return the pairs of the dataset, without those with a broken image."""
        known = _by_path(images)
        pairs = dataset_pairs(root, self._files)
        found = [(known.get(_key(str(before))), known.get(_key(str(after)))) for before, after in pairs]
        rows, notes = _distinct((before, after) for before, after in found if before and after)
        return rows, {"pairs with a broken image": sum(not (b and a) for b, a in found), **notes}


class Consecutive:
    """Each image with one that comes later: frames of a video, or one place over time, in the order of their paths.

    Images in different folders are not paired.

    Args:
        step: How many images later.
    """

    def __init__(self, *, step: PositiveInt = 1) -> None:
        self._step = step

    def __call__(self, images: Rows, root: Path, asking: Asking) -> tuple[Rows, dict[str, Any]]:
        """Return the pairs."""
        folders: dict[Path, list[str]] = {}
        for path, image in sorted(_by_path(images).items()):
            folders.setdefault(path.parent, []).append(image)
        return _distinct(
            pair for frames in folders.values() for pair in zip(frames, frames[self._step :], strict=False)
        )


def _by_path(images: Rows) -> dict[Path, str]:
    return {_key(path): row["image"] for row in images for path in (row["path"], *row["copies"])}


def _key(path: str) -> Path:
    return Path(plain_name(path))


def _distinct(pairs: Iterable[tuple[str, str]]) -> tuple[Rows, dict[str, Any]]:
    """Rows of PAIRS, each once, without those of an image with itself."""
    pairs = list(pairs)
    rows = {pair: _row(*pair, None) for pair in pairs if pair[0] != pair[1]}
    return list(rows.values()), {"the very same image twice": sum(before == after for before, after in pairs)}


def _row(before: str, after: str, cosine: float | None) -> dict[str, Any]:
    return {"pair": f"{before}-{after}", "before": before, "after": after, "similarity": cosine}
