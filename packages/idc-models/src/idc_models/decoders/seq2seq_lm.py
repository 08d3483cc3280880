"""The decoder of an encoder-decoder language model, with the memory in place of its encoder's output."""

from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from idc_models.architecture import Architecture, library
from idc_models.contract import Decoded, Rate, State, TokenSpace
from idc_models.decoders.language_model import LanguageModel, Tune


class Seq2SeqLm(LanguageModel):
    """Decodes with the decoder of T5, BART or another encoder-decoder model of transformers, attending to the memory.

    The projected memory replaces the output of the model's encoder, which is removed. The first token is the model's
    start token. Without a `model`, a small T5 with random weights is trained in full. Tokenizer, checkpoints and errors
    are as in `prefix-lm`.

    Source: Raffel et al., Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer, JMLR 2020;
    Lewis et al., BART, ACL 2020. Differs from the papers: the encoder's output is computed from images.

    Args:
        memory_dim: Width of a memory slot.
        vocab: The tokens of the captions.
        model: A folder of transformers, or an id on the hub.
        config: The architecture, as in `config.json`; by default that of the model.
        tune: What is trained besides the projection: low-rank matrices (`lora`), nothing (`frozen`) or all (`full`).
        rank: Rank of the matrices of `lora`.
        alpha: Their product is scaled by alpha / rank.
        dropout: Dropout rate of their input.
        targets: Names of the layers to which they are added; None means all linear layers except the output layer.

    Raises:
        ValueError: A library is missing, the model cannot be loaded, or the tokenizer is not the model's.
    """

    _auto = "AutoModelForSeq2SeqLM"
    _small = {
        "model_type": "t5",
        "d_model": 64,
        "d_kv": 16,
        "d_ff": 128,
        "num_layers": 1,
        "num_decoder_layers": 2,
        "num_heads": 4,
    }

    def __init__(
        self,
        memory_dim: int,
        vocab: TokenSpace,
        *,
        model: str | None = None,
        config: Architecture = None,
        tune: Tune = "lora",
        rank: PositiveInt = 16,
        alpha: PositiveFloat = 32.0,
        dropout: Rate = 0.0,
        targets: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(
            memory_dim,
            vocab,
            model=model,
            config=config,
            tune=tune,
            rank=rank,
            alpha=alpha,
            dropout=dropout,
            targets=targets,
        )
        self.project = self.projection(memory_dim)
        first = self.lm.config.decoder_start_token_id
        self.first = vocab.bos_id if first is None else first

    def forward(self, memory: Float[Tensor, "n m e"], tokens: Int[Tensor, "n l"]) -> Decoded:
        """Predict the token after each position."""
        begun = torch.cat([torch.full_like(tokens[:, :1], self.first), tokens[:, 1:]], dim=1)
        read = self._read(self.project(memory), begun, None)
        return Decoded(read.logits[..., : self.vocab.size], read.decoder_hidden_states[-1])

    def start(self, memory: Float[Tensor, "n m e"]) -> State:
        """Project the memory; its keys and values are computed with the first token."""
        return {"memory": self.project(memory)}

    def step(self, state: State, token: Int[Tensor, " n"]) -> tuple[Float[Tensor, "n v"], State]:
        """Process one token; its keys and values are added to the state."""
        cache = library("transformers").DynamicCache
        kinds = [f"{where}_{what}" for where in ("own", "cross") for what in ("keys", "values")]
        layers = sum(name.startswith(kinds[0]) for name in state)
        tensors = [[state[f"{kind}{layer}"] for kind in kinds] for layer in range(layers)]
        past = library("transformers").EncoderDecoderCache(
            *(cache([tuple(layer[first : first + 2]) for layer in tensors]) for first in (0, 2))
        )
        token = token if layers else torch.full_like(token, self.first)
        read = self._read(state["memory"], token[:, None], past)
        filled: dict[str, Any] = {"own": past.self_attention_cache, "cross": past.cross_attention_cache}
        state = {"memory": state["memory"]}
        for where, half in filled.items():
            for number, layer in enumerate(half.layers):
                state |= {f"{where}_keys{number}": layer.keys, f"{where}_values{number}": layer.values}
        return read.logits[:, -1, : self.vocab.size], state

    def _create(self, config: dict[str, Any]) -> Any:
        return _without_encoder(super()._create(config))

    def _read(self, memory: Tensor, tokens: Tensor, past: Any) -> Any:
        states = library("transformers.modeling_outputs").BaseModelOutput(last_hidden_state=memory)
        return self.lm(
            encoder_outputs=states,
            decoder_input_ids=tokens,
            past_key_values=past,
            use_cache=past is not None,
            output_hidden_states=True,
        )


def _without_encoder(lm: Any) -> Any:
    """Remove the encoder of a model; weights that it shares with the decoder are kept."""
    encoder = lm.get_encoder()
    name = next(name for name, module in lm.named_modules() if module is encoder)
    parent, _, child = name.rpartition(".")
    setattr(lm.get_submodule(parent), child, nn.Identity())
    return lm
