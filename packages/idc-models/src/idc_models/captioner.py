"""The model: one module that encodes a pair, fuses it and writes a caption."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from idc_models.contract import (
    Decoder,
    Encoder,
    Fused,
    Fusion,
    Generated,
    Grid,
    Objective,
    Outputs,
    Side,
    TrainingBatch,
)
from idc_models.decoding import generate, until_end
from idc_models.frozen import Frozen, frozen_weights, load_frozen
from idc_models.spec import PartName

PARTS: tuple[PartName, ...] = get_args(PartName)


class Captioner(nn.Module):
    """Captions what changed between two images: encoder, fusion and decoder, and the objectives that train them.

    Args:
        encoder: sees both images.
        fusion: makes the memory.
        decoder: writes the caption.
        objectives: what is minimised, by name; their parameters are part of the model.
        weights: the weight of each objective in the loss, by the same names.

    Raises:
        ValueError: an objective has no weight, or the other way round.
    """

    def __init__(
        self,
        encoder: Encoder,
        fusion: Fusion,
        decoder: Decoder,
        objectives: Mapping[str, Objective],
        weights: Mapping[str, float],
    ) -> None:
        super().__init__()
        if objectives.keys() != weights.keys():
            raise ValueError(f"objectives are {sorted(objectives)}, but weights are given for {sorted(weights)}")
        self.encoder = encoder
        self.fusion = fusion
        self.decoder = decoder
        # A module's name has no dot, which package.module:Class has.
        self.objectives = nn.ModuleDict({name.replace(".", "-"): part for name, part in objectives.items()})
        self.weights = dict(weights)
        self.frozen: dict[str, Frozen] = {}  # by the name of the part: what checkpoints need not hold
        self.drawn = 0.0
        """Share of the words that the decoder draws itself in training, in place of those of the captions."""
        self.kept: tuple[int, ...] | None = None
        """Shape of the encoder's grid of one image, if a dataset gives such grids in place of images."""

    def load_pretrained(self, names: Collection[PartName] = PARTS) -> None:
        """Load the pre-trained weights that the settings of these parts ask for."""
        for name in names:
            part: Any = getattr(self, name)
            for each in part.values() if name == "objectives" else [part]:
                each.load_pretrained()
            if name != "objectives" and (frozen := frozen_weights(part)):
                self.frozen[name] = frozen

    def load_weights(self, weights: Mapping[str, Tensor], frozen: Mapping[str, Frozen]) -> None:
        """Load the weights of a checkpoint.

        Args:
            weights: those that it holds.
            frozen: those that it names only, by part.

        Raises:
            ValueError: what it names cannot be had, or has changed.
            RuntimeError: the weights are not those of such a model.
        """
        named = {
            f"{name}.{key}": value
            for name, part in frozen.items()
            for key, value in load_frozen(getattr(self, name), name, part).items()
        }
        self.load_state_dict({**weights, **named})
        self.frozen = dict(frozen)

    def encode(self, before: Side, after: Side) -> tuple[Grid, Grid]:
        """Encode both images, unless what a dataset gives are their grids already (see `kept`).

        Raises:
            ValueError: the encoder takes something else.
        """
        if before.dtype == torch.float16:  # features as they are stored
            before, after = before.float(), after.float()
        if self.kept and before.dtype != torch.uint8 and tuple(before.shape[1:]) == self.kept:
            return before, after
        self.encoder.check(before)
        return self.encoder.pair(before, after)

    def fuse(self, before: Side, after: Side) -> Fused:
        """Encode both images and fuse their grids."""
        return self.fusion(*self.encode(before, after))

    def forward(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """Computes the loss; here because wrappers such as DistributedDataParallel hook into `forward`."""
        return self.loss(batch)

    def loss(self, batch: TrainingBatch, fused: Fused | None = None) -> dict[str, Tensor]:
        """Compute every objective and their weighted total.

        Args:
            batch: pairs with captions.
            fused: these pairs, if they have been fused already.

        Returns:
            The total as "loss", and each objective under its own name, before its weight.
        """
        outputs = Outputs(
            fused or self.fuse(batch.before, batch.after),
            self.decoder,
            batch.tokens,
            batch.lengths,
            batch.pair,
            batch.shared,
            batch.references,
            batch.scene,
            self.drawn if self.training else 0.0,
        )
        parts = {
            name: objective(outputs) for name, objective in zip(self.weights, self.objectives.values(), strict=True)
        }
        return {"loss": torch.stack([self.weights[name] * part for name, part in parts.items()]).sum(), **parts}

    def generate(self, before: Side, after: Side, **how: Any) -> Generated:
        """Write one caption per pair, in eval mode best; `how` is what `write` takes."""
        with torch.no_grad():
            fused = self.fuse(before, after)
        return self.write(fused, **how)

    def write(
        self,
        fused: Fused,
        *,
        beam: int = 1,
        max_length: int | None = None,
        length_penalty: float = 0.0,
        sample: bool = False,
        temperature: float = 1.0,
        top_k: int = 0,
        generator: torch.Generator | None = None,
        no_repeat: int = 0,
        locate: bool = False,
    ) -> Generated:
        """Write one caption for each fused pair; the arguments are those of `decoding.generate`.

        With `locate` it also says where it sees the change: by the fusion's change map if there is one, else by what
        the decoder attended to.
        """
        written = generate(
            self.decoder,
            fused.memory,
            beam=beam,
            max_length=max_length,
            length_penalty=length_penalty,
            sample=sample,
            temperature=temperature,
            top_k=top_k,
            generator=generator,
            no_repeat=no_repeat,
        )
        return replace(written, change_map=self.locate(fused, written.tokens)) if locate else written

    @torch.no_grad()
    def locate(self, fused: Fused, tokens: Int[Tensor, "b l"]) -> Float[Tensor, "b gh gw"] | None:
        """Says where it sees the change that captions speak of: 1 in the cell that says so most, None if nothing does.

        Args:
            fused: the pairs.
            tokens: their captions, as `Generated` has them.
        """
        change_map = fused.change_map
        if change_map is None:
            vocab = self.decoder.vocab
            begun = torch.cat([torch.full_like(tokens[:, :1], vocab.bos_id), tokens[:, :-1]], dim=1)
            attention = self.decoder(fused.memory, begun).attention
            if attention is None or fused.grid is None:
                return None
            # The mean over the words, without the padding. Several slots of one cell count together.
            words = until_end(tokens, vocab.eos_id).float()[..., None]
            slots = (attention * words).sum(1) / words.sum(1).clamp(min=1)
            height, width = fused.grid
            change_map = slots.unflatten(1, (-1, height, width)).sum(1)
        return change_map / change_map.flatten(1).amax(1).clamp(min=1e-12)[:, None, None]
