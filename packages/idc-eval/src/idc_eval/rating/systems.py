"""The systems of a study: predictions files for the same pairs."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from idc_eval.images import data_url, image_file
from idc_eval.prediction import Prediction, read_predictions
from idc_eval.targets import predictions_file

_PIXELS = 512  # longer side of an image on the page
_EVERY_RUN = ("predictions", "artifacts")  # what files and folders of every run are called


class Systems:
    """What each system says of each pair.

    Attributes:
        files: The predictions file of each system, by its name.
        predictions: Of each system, by pair.

    Raises:
        ValueError: A file is no predictions file, or the files are about other pairs; says which.
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
                    f"{first!r} and {other!r} are not about the same pairs: {strange[0]!r} ({len(strange):,} such) is "
                    "missing in one of them or has other references; give predictions of one test set"
                )
        self._images: dict[str, tuple[Path, Path]] = {}
        for name, predictions in self.predictions.items():
            for pair, p in predictions.items():
                if p.before and p.after:
                    folder = self.files[name].parent
                    self._images.setdefault(pair, (image_file(folder, p.before), image_file(folder, p.after)))

    @property
    def names(self) -> list[str]:
        """The systems in the order given."""
        return list(self.files)

    @property
    def pairs(self) -> dict[str, Prediction]:
        """Every pair, as the first system has it."""
        return self.predictions[self.names[0]]

    @property
    def pictured(self) -> list[str]:
        """The pairs that have images; a run keeps those of a random sample.

        Raises:
            ValueError: None has.
        """
        if not self._images:
            raise ValueError(
                f"no pair has images in {', '.join(map(str, self.files.values()))}: put them beside the file and name "
                'them in its lines, as in "before": "images/7_before.png", "after": "images/7_after.png"'
            )
        return list(self._images)

    def said(self, pair: str) -> dict[str, str]:
        """The caption that each system gives a pair."""
        return {name: predictions[pair].hypothesis for name, predictions in self.predictions.items()}

    def hashes(self) -> dict[str, str]:
        """For each system, what tells its captions and references from others; the rest of the file is left out."""
        rows = {
            name: sorted((p.id, p.hypothesis, p.references) for p in predictions.values())
            for name, predictions in self.predictions.items()
        }
        return {name: digest(said) for name, said in rows.items()}

    def images(self, pair: str) -> tuple[str, str]:
        """Before and after of a pair that is `pictured`, as data URLs, from the first file that names them.

        Raises:
            ValueError: An image is damaged.
            OSError: An image cannot be read.
        """
        before, after = self._images[pair]
        return data_url(before, longest=_PIXELS), data_url(after, longest=_PIXELS)


def digest(value: object) -> str:
    """A short name for a value that JSON can hold; says nothing of it."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """Each system's name: that of its file or folder, or of a folder further up where several are called the same."""
    chains = [
        [place.name if place.is_dir() else place.stem, *(folder.name for folder in place.parents)]
        for place in map(Path.resolve, paths)
    ]
    telling = [[name for name in chain if name not in _EVERY_RUN] for chain in chains]
    for level in zip(*telling, strict=False):
        if len(set(level)) == len(level):
            return {name: predictions_file(path) for name, path in zip(level, paths, strict=True)}
    raise ValueError(f"a system is given twice: {', '.join(map(str, paths))}; give each once")
