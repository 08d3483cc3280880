"""The command `idc-models import`."""

from pathlib import Path
from typing import Any

import click
from idc_data.mistakes import OneLineErrors
from idc_data.strict_yaml import load_yaml


@click.command(name="import", cls=OneLineErrors)
@click.argument("method")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--part", "parts", multiple=True, metavar="MODULE=FILE",
              help="The file of one module, if its contents do not tell which; image=FILE is the encoder.")  # fmt: skip
@click.option("--vocab", type=click.Path(path_type=Path), help="The vocabulary: JSON, {word: id} or a list.")
@click.option("--encoder", metavar="YAML", help="model.encoder of a spec, or a file with it; by default ResNet-101 "
              "with ImageNet weights, up to the published level.")  # fmt: skip
@click.option("--set", "-s", "overrides", metavar="PART.SETTING=VALUE", multiple=True,
              help="A setting of fusion or decoder that the shapes do not tell, such as decoder.heads=4.")  # fmt: skip
@click.option(
    "--image-size", type=click.IntRange(8, 4096), help="Image height and width in pixels; default: published."
)
@click.option("--max-length", type=click.IntRange(3, 4096), default=50, show_default=True,
              help="Maximum number of tokens of a caption, including bos and eos.")  # fmt: skip
@click.option("--no-change", multiple=True, metavar="CAPTION", help="A caption of the model that means no change, "
              "to compute the probability of a change; repeatable.")  # fmt: skip
def import_command(
    method: str,
    files: tuple[Path, ...],
    parts: tuple[str, ...],
    vocab: Path | None,
    encoder: str | None,
    overrides: tuple[str, ...],
    image_size: int | None,
    max_length: int,
    no_change: tuple[str, ...],
) -> None:
    """Convert published FILES of METHOD to the checkpoint OUT, the last of the files.

    \b
    Examples:
      idc-models import scorer SCORER_checkpoint.pt scorer.safetensors --vocab vocab.json
      idc-models import chg2cap --part image=encoder.pth --part decoder=decoder.pth rest.pth chg2cap.safetensors --vocab vocab.json

    FILES are in the format of torch.save or safetensors; no code in them is run. docs/zoo.md lists the methods.
    """  # noqa: D301, E501 - click reads the \b
    from idc_data.strict_yaml import apply_override

    from idc_models.importing.published import import_published

    *given, out = files
    if out.suffix != ".safetensors":
        raise ValueError(f"the last file, the checkpoint to write, is {str(out)!r}; expected OUT.safetensors")
    named: dict[str, Path] = {}
    for part in parts:
        module, equals, path = part.partition("=")
        if not equals or not path:
            raise ValueError(f"--part is {part!r}; expected MODULE=FILE, such as decoder=decoder.pth")
        named[module] = Path(path)
    settings: dict[str, Any] = {}
    for override in overrides:
        apply_override(settings, override)
    imported = import_published(
        method,
        out,
        files=given,
        parts=named,
        vocabulary=vocab,
        encoder=None if encoder is None else _choice(encoder),
        settings=settings,
        image_size=image_size,
        max_length=max_length,
        no_change=no_change,
    )
    side, words = imported.image_size, imported.words
    click.echo(f"{imported.path}: {method}, {words} words, images of {side} x {side}, encoder from {imported.encoder}")
    if imported.left_out:
        click.echo(f"left out: {', '.join(name or 'the top' for name in imported.left_out)}")


def _choice(given: str) -> dict[str, Any]:
    path = Path(given)
    text = path.read_text(encoding="utf-8") if path.suffix in (".yaml", ".yml", ".json") else given
    value = load_yaml(text, "--encoder")
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict) or "name" not in value:
        raise ValueError(
            f"--encoder is {given!r}; expected a name, or {{name: NAME, setting: value}}, or a file with it"
        )
    return value
