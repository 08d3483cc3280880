"""A causal language model as the decoder: the memory is its prefix; only low-rank updates (LoRA) are trained."""

from typing import Any

import torch
from idc_models.contract import Decoded, Decoder, TokenSpace
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization
from transformers import GPT2Config, GPT2LMHeadModel


class LowRank(nn.Module):
    """LoRA: adds a low-rank matrix, initially zero, to a weight (Hu et al., ICLR 2022, equation 3)."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(weight.shape[0], rank) * weight.shape[0] ** -0.5)
        self.up = nn.Parameter(torch.zeros(rank, weight.shape[1]))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the updated weight."""
        return weight + self.down @ self.up


class CausalLm(Decoder):
    """GPT-2 with LoRA in its attention; `model` is a folder or a hub id; without it, all weights are trained."""

    # fmt: off
    def __init__(self, memory_dim: int, vocab: TokenSpace, *, model: str | None = None, rank: int = 4, dim: int = 64,
                 layers: int = 2, heads: int = 2, positions: int = 1024) -> None:
        super().__init__(memory_dim, vocab)
        self.model, self.state_dim = model, dim
        config = GPT2Config(vocab_size=vocab.size, n_embd=dim, n_layer=layers, n_head=heads, n_positions=positions,
                            bos_token_id=vocab.bos_id, eos_token_id=vocab.eos_id)
        # fmt: on
        self.lm: Any = GPT2LMHeadModel(config).requires_grad_(model is None)
        for block in self.lm.transformer.h:
            register_parametrization(block.attn.c_attn, "weight", LowRank(block.attn.c_attn.weight, rank))
        self.prefix = nn.Linear(memory_dim, dim)

    def origin(self) -> str | None:
        """Return the model's name; a checkpoint then holds only its trained weights."""
        return self.model

    def load_pretrained(self) -> None:
        """Load the weights of `model`, whose sizes must match the settings."""
        theirs = GPT2LMHeadModel.from_pretrained(self.model).state_dict() if self.model else {}
        for name, value in self.lm.state_dict().items():
            known = theirs.get(name.replace("parametrizations.weight.original", "weight"), value)
            if name.endswith(("wte.weight", "lm_head.weight")):
                known = known[: len(value)]  # a model may have more rows than tokens
            if known.shape != value.shape:
                raise ValueError(f"{self.model!r}: {name} is {[*known.shape]}, expected {[*value.shape]}")
            value.copy_(known)

    def forward(self, memory: Tensor, tokens: Tensor) -> Decoded:
        """Predict each next token from the memory and the previous tokens."""
        words = torch.cat([self.prefix(memory), self.lm.transformer.wte(tokens)], dim=1)
        states = self.lm.transformer(inputs_embeds=words, use_cache=False).last_hidden_state[:, memory.shape[1] :]
        return Decoded(self.lm.lm_head(states), states)
