"""A batch of pairs and their captions, as tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from idc_data.example import ChangeExample, Regions


@dataclass(frozen=True)
class Facts:
    """What is known of a pair and no training asks for.

    Attributes:
        truth: Of a procedural scene.
        regions: Where the change is, in pixels of the images of the batch, if that is known.
        provenance: Where the pair comes from.
    """

    truth: dict[str, Any] | None
    regions: Regions | None
    provenance: dict[str, Any] | None


@dataclass(frozen=True)
class Batch:
    """b pairs with n captions of them.

    Where nothing is learnt, n is 0, and `shared` and `scene` know each pair alone.

    Attributes:
        ids: Names of the pairs.
        before: Earlier images, or features of them that were computed before.
        after: Later images, likewise.
        tokens: Captions as token ids, int64, padded on the right.
        lengths: Tokens of each caption, without the padding.
        pair: Which pair each caption describes, as a row of `before` and `after`.
        shared: Where two pairs have a reference in common; the diagonal is True.
        scene: Where two pairs show one scene, because their provenance says so (`scene`) or because they have an image
            file in common; the diagonal is True.
        references: All captions of each pair.
        changed: False for distractors.
        change_types: As the dataset names them; `none` for distractors.
        facts: What else is known of each pair; empty in training, which would carry them between processes in vain.
    """

    ids: list[str]
    before: UInt8[Tensor, "b 3 h w"] | Float[Tensor, "b ..."]
    after: UInt8[Tensor, "b 3 h w"] | Float[Tensor, "b ..."]
    tokens: Int[Tensor, "n l"]
    lengths: Int[Tensor, " n"]
    pair: Int[Tensor, " n"]
    shared: Bool[Tensor, "b b"]
    scene: Bool[Tensor, "b b"]
    references: list[tuple[str, ...]]
    changed: list[bool]
    change_types: list[str]
    facts: list[Facts]

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on a device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)})


def collate(
    examples: Sequence[ChangeExample],
    before: Sequence[UInt8[Tensor, "3 h w"] | Float[Tensor, "..."]],
    after: Sequence[UInt8[Tensor, "3 h w"] | Float[Tensor, "..."]],
    captions: Sequence[Sequence[list[int]]],
    regions: Sequence[Regions | None] | None,
    *,
    pad_id: int,
) -> Batch:
    """Stack pairs and pad their captions.

    Args:
        examples: The pairs.
        before: Their earlier images, of one size, or features in their place.
        after: Their later images, likewise.
        captions: For each pair, the token ids of the captions to learn; none for any pair if nothing is learnt.
        regions: Where the change is on these images; None to leave out the facts.
        pad_id: Fills captions that are shorter than the longest.
    """
    rows = [torch.tensor(ids) for of_pair in captions for ids in of_pair]
    if rows:
        said = [{reference.strip().lower() for reference in example.references} for example in examples]
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad_id)
        shared, scene = _common(said), _common([_scene(example) for example in examples])
    else:
        tokens = torch.empty(0, 0, dtype=torch.long)
        shared = scene = torch.zeros(len(examples), len(examples), dtype=torch.bool)
    alone = torch.eye(len(examples), dtype=torch.bool)
    facts = [Facts(each.truth, places, each.provenance) for each, places in zip(examples, regions or (), strict=False)]
    return Batch(
        ids=[example.id for example in examples],
        before=torch.stack(list(before)),
        after=torch.stack(list(after)),
        tokens=tokens,
        lengths=torch.tensor([len(row) for row in rows], dtype=torch.long),
        pair=torch.tensor([index for index, of_pair in enumerate(captions) for _ in of_pair], dtype=torch.long),
        shared=shared | alone,
        scene=scene | alone,
        references=[example.references for example in examples],
        changed=[example.changed for example in examples],
        change_types=[example.change_type for example in examples],
        facts=facts,
    )


def _common(sets: Sequence[set[Any]]) -> Bool[Tensor, "b b"]:
    """Where two sets have a member in common."""
    return torch.tensor([[not mine.isdisjoint(theirs) for theirs in sets] for mine in sets])


def _scene(example: ChangeExample) -> set[Any]:
    """What pairs of one scene have in common."""
    scene = (example.provenance or {}).get("scene")
    if isinstance(scene, int | str):
        return {("scene", scene)}
    return {image for image in (example.before, example.after) if isinstance(image, Path)}
