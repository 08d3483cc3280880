"""The beginning that all questions of a batch share, such as worked examples, is read once instead of once each."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

_LEAST = 32  # tokens that are worth a pass of their own


def read_prefix(
    model: Any, input_ids: Int[Tensor, "b l"], attention_mask: Int[Tensor, "b l"], pad: int
) -> dict[str, Any] | None:
    """Read the tokens that all rows begin with, and return inputs of `generate` that go on from there.

    The padding moves between the shared beginning and the rest of each row. Positions are counted by the mask, so that
    the model computes what it would compute without.

    Args:
        model: A causal language model.
        input_ids: Tokens, padded on the left.
        attention_mask: 0 where `input_ids` is padding.
        pad: The token to pad with.

    Returns:
        `input_ids`, `attention_mask` and `past_key_values`; or None if it is not worth it, or the model does not keep
        keys and values of all positions.
    """
    from transformers import DynamicCache

    rows = [ids[mask.bool()] for ids, mask in zip(input_ids, attention_mask, strict=True)]
    most = min(len(row) for row in rows) - 1
    same = torch.stack([row[:most] == rows[0][:most] for row in rows]).all(0)
    shared = int(same.long().cumprod(0).sum())
    layers = getattr(model.config.get_text_config(), "layer_types", None) or ["full_attention"]
    if len(rows) == 1 or shared < _LEAST or set(layers) != {"full_attention"}:
        return None
    past = model(rows[0][None, :shared], use_cache=True, logits_to_keep=1).past_key_values
    if type(past) is not DynamicCache:
        return None
    past.batch_repeat_interleave(len(rows))
    width = max(len(row) for row in rows) - shared
    ids = input_ids.new_full((len(rows), shared + width), pad)
    mask = attention_mask.new_zeros(ids.shape)
    for at, row in enumerate(rows):
        ids[at, :shared], mask[at, :shared] = row[:shared], 1
        rest = len(row) - shared
        ids[at, -rest:], mask[at, -rest:] = row[shared:], 1
    return {"input_ids": ids, "attention_mask": mask, "past_key_values": past}
