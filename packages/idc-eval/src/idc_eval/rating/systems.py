"""The systems of a study: predictions files for the same pairs."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from idc_eval.images import data_url, image_file
from idc_eval.prediction import Prediction, read_predictions
from idc_eval.targets import predictions_file

_PIXELS = 512  # longer side of an image on the page
_EVERY_RUN = ("predictions", "artifacts")  # names of files and folders in every run


class Systems:
    """Each system's captions for each pair.

    Attributes:
        files: Predictions file of each system, by name.
        predictions: Predictions of each system, by pair.

    Raises:
        ValueError: A file is not a predictions file, or the files have different pairs; the message says which.
        OSError: A file cannot be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.files = _named(paths)
        self.predictions = {name: {p.id: p for p in read_predictions(file)} for name, file in self.files.items()}
        first, *others = self.names
        for other in others:
            one, two = ({pair: p.references for pair, p in self.predictions[name].items()} for name in (first, other))
            strange = [pair for pair in one | two if one.get(pair) != two.get(pair)]
            if strange:
                raise ValueError(
                    f"{first!r} and {other!r} have different pairs: {strange[0]!r} ({len(strange):,} such) is "
                    "missing in one of them or has other references; give predictions for the same test set"
                )
        self._images: dict[str, tuple[Path, Path]] = {}
        for name, predictions in self.predictions.items():
            for pair, p in predictions.items():
                if p.before and p.after:
                    folder = self.files[name].parent
                    self._images.setdefault(pair, (image_file(folder, p.before), image_file(folder, p.after)))

    @property
    def names(self) -> list[str]:
        """Return the names of the systems in the given order."""
        return list(self.files)

    @property
    def pairs(self) -> dict[str, Prediction]:
        """Return the first system's prediction for every pair."""
        return self.predictions[self.names[0]]

    @property
    def pictured(self) -> list[str]:
        """Return the pairs with images; a run keeps the images of a random sample.

        Raises:
            ValueError: No pair has images.
        """
        if not self._images:
            raise ValueError(
                f"no pair has images in {', '.join(map(str, self.files.values()))}: put them beside the file and name "
                'them in its lines, as in "before": "images/7_before.png", "after": "images/7_after.png"'
            )
        return list(self._images)

    def said(self, pair: str) -> dict[str, str]:
        """Return each system's caption for a pair."""
        return {name: predictions[pair].hypothesis for name, predictions in self.predictions.items()}

    def hashes(self) -> dict[str, str]:
        """Return a hash of each system's captions and references; other fields do not count."""
        rows = {
            name: sorted((p.id, p.hypothesis, p.references) for p in predictions.values())
            for name, predictions in self.predictions.items()
        }
        return {name: digest(own) for name, own in rows.items()}

    def images(self, pair: str) -> tuple[str, str]:
        """Return before and after images of a pair in `pictured`, as data URLs, from the first file that has them.

        Raises:
            ValueError: An image is damaged.
            OSError: An image cannot be read.
        """
        before, after = self._images[pair]
        return data_url(before, longest=_PIXELS), data_url(after, longest=_PIXELS)


def digest(value: object) -> str:
    """Return a short hash of a JSON value that reveals nothing about it."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """Name each system after its file or folder, or after a parent folder if names would clash."""
    chains = [
        [place.name if place.is_dir() else place.stem, *(folder.name for folder in place.parents)]
        for place in map(Path.resolve, paths)
    ]
    telling = [[name for name in chain if name not in _EVERY_RUN] for chain in chains]
    for level in zip(*telling, strict=False):
        if len(set(level)) == len(level):
            return {name: predictions_file(path) for name, path in zip(level, paths, strict=True)}
    raise ValueError(f"a system was given twice: {', '.join(map(str, paths))}; give each system once")
