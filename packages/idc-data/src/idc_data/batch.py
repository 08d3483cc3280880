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
    """Facts about a pair that training does not need.

    Attributes:
        truth: Facts about a procedural scene.
        regions: Where the change is, in pixels of the images of the batch, if known.
        provenance: Where the pair comes from.
    """

    truth: dict[str, Any] | None
    regions: Regions | None
    provenance: dict[str, Any] | None


@dataclass(frozen=True)
class Batch:
    """b pairs with n captions of them.

    Without captions to learn, n is 0, and `shared` and `scene` are True on the diagonal only.

    Attributes:
        ids: Ids of the pairs.
        before: Before images, or precomputed features of them.
        after: After images, likewise.
        tokens: Captions as token ids, int64, padded on the right.
        lengths: Number of tokens of each caption, without padding.
        pair: Index of the pair that each caption describes: a row of `before` and `after`.
        shared: True where two pairs share a reference; the diagonal is True.
        scene: True where two pairs show the same scene, because they have the same `scene` in their provenance or share
            an image file; the diagonal is True.
        references: All captions of each pair.
        changed: False for distractors.
        change_types: Change types as the dataset names them; `none` for distractors.
        facts: Further facts about each pair; empty in training, to save copying them between processes.
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
        """Return the batch with its tensors on a device."""
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
        before: Their before images, all of one size, or features.
        after: Their after images, likewise.
        captions: For each pair, the token ids of the captions to learn; may be empty for all pairs.
        regions: Where the change is on these images; None omits the facts.
        pad_id: Token id of padding.
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
    """Return True where two sets have a member in common."""
    return torch.tensor([[not mine.isdisjoint(theirs) for theirs in sets] for mine in sets])


def _scene(example: ChangeExample) -> set[Any]:
    """Return keys that pairs of the same scene have in common."""
    scene = (example.provenance or {}).get("scene")
    if isinstance(scene, int | str):
        return {("scene", scene)}
    return {image for image in (example.before, example.after) if isinstance(image, Path)}
