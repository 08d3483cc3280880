"""Pictures of a run: sample pairs with their captions, learning curves, and the images of the report."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from idc_data.example import ChangeExample, Reader, read_examples
from idc_data.fonts import installed
from idc_data.images import load_image, load_pair
from idc_data.words import wrap
from idc_eval.prediction import Prediction
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image

SAMPLES = 16
"""Number of pairs in the picture of samples."""

_BATCH = 64  # pairs to render at a time
_LONGEST = 384  # pixels of a stored image
_SMALL = 128  # images up to this size are stored losslessly


def sample_pairs(path: Path, folder: Path, predictions: Sequence[Prediction], right: Sequence[float | None]) -> None:
    """Draw the first pairs, before next to after, each with a reference and the hypothesis.

    Args:
        path: A .png file.
        folder: The folder that image names are relative to.
        predictions: Predictions with image names; the first `SAMPLES` are drawn.
        right: 1 for a right hypothesis (green), 0 for a wrong one (red), None if unknown.
    """
    num = min(SAMPLES, len(predictions))
    figure = Figure(figsize=(16, 2.9 * -(-num // 4)), layout="constrained")
    grid = figure.subplots(-(-num // 4), 4, squeeze=False)
    for index, axes in enumerate(grid.flat):
        axes.axis("off")
        if index >= num:
            continue
        prediction = predictions[index]
        for side, name in enumerate((prediction.before, prediction.after)):
            inset = axes.inset_axes((0.51 * side, 0.34, 0.49, 0.66))
            inset.imshow(load_image(folder / str(name)))
            inset.set_xticks([])
            inset.set_yticks([])
        color = {1: "#1a7f37", 0: "#b3261e"}.get(right[index], "black")  # pyright: ignore[reportArgumentType, reportCallIssue]
        captions = (prediction.references[0], 8, "#57606a"), (prediction.hypothesis or "(empty)", 8.5, color)
        for top, (caption, size, ink) in zip((0.29, 0.13), captions, strict=True):
            text, font = lettering(caption, size)
            lines = "\n".join(wrap(text, 52))
            axes.text(0, top, lines, va="top", color=ink, font=font, parse_math=False)  # "$5" is not a formula
    figure.suptitle("before | after, a reference (grey), the hypothesis (green right, red wrong)", fontsize=10)
    figure.savefig(path, dpi=110)


def lettering(text: str, size: float) -> tuple[str, FontProperties]:
    """Find a font for a text; return the text in drawable form, and the font."""
    file, drawn = installed().find(text, Path(findfont(FontProperties())))
    return drawn, FontProperties(fname=file, size=size)


def learning_curves(path: Path, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """Plot the losses and the validation score over the steps."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    panels = dict(zip((True, False), figure.subplots(1, 2), strict=True))
    for name, points in curves.items():
        axes = panels[name.endswith("/loss")]
        scaled = [(step, value if name.endswith("/loss") else 100 * value) for step, value in points]
        dots = {"marker": "o" if len(points) < 40 else None, "ms": 3}
        axes.plot(*zip(*scaled, strict=True) if points else ([], []), label=name, **dots)
    for axes in panels.values():
        axes.set(xlabel="step")
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def keep_images(
    folder: Path, reader: Reader, predictions: Sequence[Prediction], rows: Sequence[int]
) -> list[Prediction]:
    """Save the images of some pairs in `folder/images`, downscaled if they are large.

    Args:
        folder: The folder of the predictions file.
        reader: The split, in the order of the predictions.
        predictions: One per example of the split.
        rows: The pairs to save.

    Returns:
        The predictions, with image names for the saved pairs.
    """
    (folder / "images").mkdir()
    named = list(predictions)
    for row, example in _read(reader, rows):
        names = {}
        for side, pixels in zip(("before", "after"), load_pair(example.before, example.after), strict=True):
            image = Image.fromarray(pixels)
            image.thumbnail((_LONGEST, _LONGEST))
            names[side] = f"images/{row:06d}-{side}.webp"
            # Lossless: method 0 takes a twentieth of the default time, for an eighth more bytes.
            how = {"lossless": True, "method": 0} if max(image.size) <= _SMALL else {"quality": 90}
            image.save(folder / names[side], "WEBP", **how)
        named[row] = predictions[row].model_copy(update=names)
    return named


def _read(reader: Reader, rows: Sequence[int]) -> Iterator[tuple[int, ChangeExample]]:
    for start in range(0, len(rows), _BATCH):
        some = rows[start : start + _BATCH]
        yield from zip(some, read_examples(reader, some), strict=True)
