"""Loads a trained model by name, file or registry address."""

import warnings
from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from idc_data.wording import suggestion

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

    from idc_models.serving.inference import Caption

    Picture = str | Path | bytes | Image.Image | NDArray[np.generic] | Tensor

SHIPPED = Path(__file__).parent / "shipped"
"""Folder of the checkpoints that ship with the package, each with its model card."""

BEST = "best.safetensors"
"""File name of a run's best checkpoint, in the run's folder."""

_REGISTRIES = "idc.registries"
_ADDRESS = ("http://", "https://")


class ForeignImages(UserWarning):
    """The images are unlike those that the model was trained on, so its captions are not reliable."""


def shipped_models() -> list[str]:
    """List the names of the models that ship with this package."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def find_checkpoint(model: str | Path) -> Path:
    """Find the checkpoint of a model.

    Args:
        model: The name of a model that ships with this package; a file; a folder with `best.safetensors`; or an address
            such as models:/idc@champion. The name of a shipped model always means that model; write `./scenes` for a
            file or folder of the same name.

    Raises:
        ValueError: There is no such model.
    """
    name = str(model)
    if isinstance(model, str):
        if name in shipped_models():
            return SHIPPED / f"{name}.safetensors"
        if name.startswith("models:/"):
            return _registered(name)
        if name.startswith(_ADDRESS):
            raise ValueError(f"{name!r} is the address of a server; expected the name or file of a model")
    path = Path(model)
    if path.is_dir():
        if not (path / BEST).is_file():
            raise ValueError(f"{name!r} is a folder without {BEST}; expected a checkpoint, or the folder of a run")
        return path / BEST
    if not path.is_file():
        expected = (
            "a .safetensors file that idc-run wrote, models:/NAME@champion, or a model that ships with idc-models"
        )
        raise ValueError(f"no checkpoint at {name!r}; expected {expected}{suggestion(name, shipped_models())}")
    return path


def _registered(address: str) -> Path:
    """Ask the registries of installed packages; idc-run provides MLflow's, in mlruns/ or on a tracking server."""
    reasons = []
    for registry in entry_points(group=_REGISTRIES):
        try:
            return registry.load()(address)
        except ValueError as error:
            reasons.append(str(error))
    missing = "which looks it up, is not installed: run `uv sync` in its repository, or `pip install .`"
    raise ValueError("; ".join(reasons) or f"{address!r} is a registered model, but idc-run, {missing}")


def load(model: str | Path, device: str = "cpu") -> "Model":
    """Load a trained model.

    Args:
        model: As in `find_checkpoint`: "scenes", "mlruns/checkpoints/NAME/RUN/best.safetensors" or
            "models:/idc@champion".
        device: Where to run, such as "cuda".

    Raises:
        ValueError: There is no such model, it is damaged, or it needs a plugin that is not installed.
    """
    return Model(find_checkpoint(model), device)


class Model:
    """Captions what changed between two images.

    Args:
        checkpoint: A file that idc-run wrote.
        device: Where to run.

    Attributes:
        checkpoint: That file.
        captioner: The `idc_models.serving.inference.PairCaptioner` that does the work.
    """

    def __init__(self, checkpoint: Path, device: str = "cpu") -> None:
        from idc_models.serving.inference import PairCaptioner  # imports torch, so only when needed

        self.checkpoint = checkpoint
        self.captioner = PairCaptioner(checkpoint, device)

    @overload
    def caption(self, before: "Picture", after: "Picture", **settings: Any) -> "Caption": ...

    @overload
    def caption(self, before: "Sequence[Picture]", after: "Sequence[Picture]", **settings: Any) -> "list[Caption]": ...

    def caption(self, before: Any, after: Any, **settings: Any) -> "Caption | list[Caption]":
        """Caption one pair of images, or many.

        Args:
            before: The before image: a path, the bytes of a file, a Pillow image, an array `h w`, `h w 1`, `h w 3` or
                `h w 4`, or a tensor with channels first; as bytes, or as floats in [0, 1]. For many pairs: a list of
                images, or an array or tensor with four axes.
            after: The after image, or as many of them.
            **settings: Decoding settings, as in `PairCaptioner.caption`: beam, num_captions, change_map, align, ...

        Returns:
            The caption, which prints as its text; for many pairs a list in their order.

        Raises:
            ValueError: An input is not an image, the lists differ in length, or a setting is out of range.
            OSError: A file cannot be opened.

        Warns:
            ForeignImages: Images are unlike those that the model was trained on; the `note` of their captions says so.
        """
        if not (_is_many(before) or _is_many(after)):
            said = self.captioner.caption([(_pixels(before), _pixels(after))], **settings)
            _warn_of(said)
            return said[0]
        if not (_is_many(before) and _is_many(after) and len(before) == len(after)):
            num = [len(side) if _is_many(side) else "one image" for side in (before, after)]
            raise ValueError(f"before is {num[0]} and after is {num[1]}; expected as many before as after images")
        said = self.captioner.caption([*zip(_all_pixels(before), _all_pixels(after), strict=True)], **settings)
        _warn_of(said)
        return said


def _warn_of(said: "Sequence[Caption]") -> None:
    from idc_models.familiar import FOREIGN

    foreign = [each for each in said if each.familiar is not None and each.familiar < FOREIGN]
    if foreign:
        which = f"{len(foreign)} of {len(said)} pairs: " if len(said) > 1 else ""
        warnings.warn(f"{which}{foreign[0].note}", ForeignImages, stacklevel=3)


def _is_many(side: Any) -> bool:
    return isinstance(side, list | tuple) or getattr(side, "ndim", 0) == 4


def _all_pixels(side: Iterable[Any]) -> list[Any]:
    images = []
    for index, image in enumerate(side):
        try:
            images.append(_pixels(image))
        except ValueError as error:
            raise ValueError(f"image {index}: {error}") from error
    return images


def _pixels(image: Any) -> Any:
    """Convert an image to what `load_pair` takes: a path, the bytes of a file, or RGB pixels of 8 bits."""
    if isinstance(image, str):
        return Path(image)
    if isinstance(image, Path | bytes):
        return image
    import numpy as np
    from idc_data.images import load_image, read_pixels
    from PIL import Image

    if isinstance(image, Image.Image):
        return read_pixels(image)
    if hasattr(image, "detach"):  # a tensor: channels first, perhaps on a GPU
        tensor = image.detach().cpu()
        array = (tensor.movedim(0, -1) if tensor.ndim == 3 else tensor).numpy()
    else:
        array = np.asarray(image)
    shape = "x".join(map(str, array.shape))
    if array.ndim not in (2, 3) or array.ndim == 3 and array.shape[2] not in (1, 3, 4) or not array.size:
        raise ValueError(
            f"an array of {array.dtype} {shape} is not an image; expected a path, bytes, a Pillow image, an array of "
            "height x width x 1, 3 or 4, or a tensor with channels first"
        )
    if np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(f"an image has floats from {array.min():g} to {array.max():g}; expected 0 to 1")
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"an image array has type {array.dtype}; expected uint8, or floats from 0 to 1")
    return load_image(Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array))
