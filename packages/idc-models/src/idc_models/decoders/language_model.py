"""Base class of decoders around a language model of transformers: architecture, weights, and what is trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from idc_data.hub import without_retries_logged
from jaxtyping import Float
from torch import Tensor, nn

from idc_models.architecture import library, read_architecture
from idc_models.contract import Decoder, TokenSpace

Tune = Literal["lora", "frozen", "full"]
"""What is trained of a language model: low-rank matrices added to it, nothing, or all weights."""


class LanguageModel(Decoder):
    """Holds a language model, freezes weights that are not trained, and loads them; a subclass decodes with it.

    Args:
        memory_dim: Width of a memory slot.
        vocab: The tokens of the captions, which must be those of the model.
        model: A folder of transformers, or an id on the hub; None starts from random weights.
        config: The architecture, as in `config.json`.
        tune: What is trained; with random weights, everything is.
        rank: Rank of the matrices of `lora`.
        alpha: Their product is scaled by alpha / rank.
        dropout: Dropout rate of their input.
        targets: Names of the layers to which they are added; None means all linear layers except the output layer.

    Raises:
        ValueError: A library is missing, the architecture is unknown, or there are more tokens than the model has.
    """

    lm: Any  # of transformers
    libraries: ClassVar[tuple[str, ...]] = ("transformers", "peft")
    _auto: ClassVar[str]
    """The auto class of transformers for such models."""
    _small: ClassVar[dict[str, Any]]
    """The default architecture."""

    def __init__(
        self,
        memory_dim: int,
        vocab: TokenSpace,
        *,
        model: str | None,
        config: dict[str, Any] | None,
        tune: Tune,
        rank: int,
        alpha: float,
        dropout: float,
        targets: Sequence[str] | None,
    ) -> None:
        super().__init__(memory_dim, vocab)
        self.model, self.tune = model, tune if model else "full"
        if config is None:
            config = read_architecture(model) if model else self._small
        self.lm = self._create(dict(config) if model else {**config, **_special(vocab)})
        rows = self.lm.get_input_embeddings().num_embeddings
        if vocab.size > rows:
            raise ValueError(
                f"the language model {model!r} has {rows} tokens, but the tokenizer has {vocab.size}: {_remedy(model)}"
            )
        if self.tune != "full":
            self.lm.requires_grad_(False).eval()
        if self.tune == "lora":
            self.lm = _with_lora(self.lm, rank, alpha, dropout, targets)
        self.state_dim: int = self.lm.get_input_embeddings().embedding_dim

    def projection(self, memory_dim: int) -> nn.Module:
        """Create the projection of memory slots to the width of the language model's word embeddings."""
        width = self.state_dim
        return nn.Sequential(
            nn.LayerNorm(memory_dim), nn.Linear(memory_dim, width), nn.GELU(), nn.Linear(width, width)
        )  # fmt: skip

    def train(self, mode: bool = True) -> "LanguageModel":
        """Set the training mode; a frozen language model stays in eval mode, without dropout."""
        super().train(mode)
        if self.tune == "frozen":
            self.lm.eval()
        return self

    def origin(self) -> str | None:
        """Return the model, so that a checkpoint holds only its trained weights."""
        return self.model

    @torch.no_grad()
    def load_pretrained(self) -> None:
        """Load the weights of `model`.

        Raises:
            ValueError: They cannot be loaded or have another architecture, or the tokenizer is not that of the model.
        """
        if self.model is None:
            return
        if Path(self.model).is_absolute() and not Path(self.model).is_dir():
            raise ValueError(f"there is no folder {self.model!r}, which held the language model")
        self._check_tokenizer(self.model)
        try:
            theirs = self._loaded(self.model).state_dict()
        except Exception as error:  # the library raises what it likes
            cause = " ".join(str(error).split())[:300]
            raise ValueError(f"the weights of the language model {self.model!r} cannot be loaded ({cause})") from error
        for name, value in self.lm.state_dict().items():
            if ".lora_" in name:
                continue
            given = theirs.get(name.replace(".base_layer.", "."))
            if given is None or given.shape != value.shape:
                found = "none" if given is None else list(given.shape)
                raise ValueError(
                    f"{self.model!r} has {found} for {name}, expected {list(value.shape)}: has the model changed?"
                )
            value.copy_(given)

    def _create(self, config: dict[str, Any]) -> Any:
        transformers = library("transformers")
        try:
            made = transformers.AutoConfig.for_model(**{key: value for key, value in config.items() if key != "dtype"})
            return getattr(transformers, self._auto).from_config(made, dtype=torch.float32)
        except (ValueError, KeyError, TypeError) as error:
            cause = " ".join(str(error).split())[:200]
            raise ValueError(f"config is not an architecture of {self._auto} in transformers ({cause})") from error

    def _loaded(self, model: str) -> Any:
        with without_retries_logged():
            return getattr(library("transformers"), self._auto).from_pretrained(model, dtype=torch.float32)

    def _check_tokenizer(self, model: str) -> None:
        """Check that the tokenizer is the model's: tokens of another would have other meanings."""
        from idc_data.tokenizers import Tokenizer, make_tokenizer

        if not isinstance(self.vocab, Tokenizer):
            return
        try:
            own = make_tokenizer({"name": "hf", "model": model}, [], self.vocab.max_length)
        except ValueError:
            return  # the model has no tokenizer to compare with
        if own.state() != self.vocab.state():
            raise ValueError(f"the tokenizer is not that of the language model {model!r}: {_remedy(model)}")


def memory_bound(value: Float[Tensor, "b ..."], rows: int) -> Tensor:
    """Repeat each row of memory for its k consecutive captions, k = rows / b."""
    return value if len(value) == rows else value.repeat_interleave(rows // len(value), dim=0)


def _special(vocab: TokenSpace) -> dict[str, int]:
    """Return the parts of an architecture with random weights that the tokenizer determines."""
    ids = {"bos_token_id": vocab.bos_id, "eos_token_id": vocab.eos_id, "pad_token_id": vocab.pad_id}
    return {"vocab_size": vocab.size, "decoder_start_token_id": vocab.bos_id, **ids}


def _remedy(model: str | None) -> str:
    return f"set data.tokenizer to {{name: hf, model: {model}}}"


def _with_lora(lm: Any, rank: int, alpha: float, dropout: float, targets: Sequence[str] | None) -> Any:
    """Add low-rank matrices to linear layers (Hu et al., LoRA, ICLR 2022)."""
    peft = library("peft")
    transposed = any(type(module).__name__ == "Conv1D" for module in lm.modules())  # those of GPT-2
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules="all-linear" if targets is None else list(targets),
        fan_in_fan_out=transposed,
    )
    try:
        return peft.inject_adapter_in_model(config, lm)
    except ValueError as error:
        raise ValueError(
            f"targets are {targets!r}, which do not fit the model: {' '.join(str(error).split())[:200]}"
        ) from error
