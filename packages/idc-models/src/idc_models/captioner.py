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
        encoder: Encodes both images.
        fusion: Turns their grids into the decoder's memory.
        decoder: Writes the caption.
        objectives: What is minimised, by name; their parameters are part of the model.
        weights: Weight of each objective in the loss, by the same names.

    Raises:
        ValueError: An objective has no weight, or a weight has no objective.
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
        # Module names must not contain dots, but package.module:Class does.
        self.objectives = nn.ModuleDict({name.replace(".", "-"): part for name, part in objectives.items()})
        self.weights = dict(weights)
        self.frozen: dict[str, Frozen] = {}  # by part: weights that checkpoints omit
        self.drawn = 0.0
        """Share of the caption tokens that training replaces with the decoder's own samples (scheduled sampling)."""
        self.kept: tuple[int, ...] | None = None
        """Shape of one image's grid, if the dataset provides the encoder's grids instead of images."""

    def load_pretrained(self, names: Collection[PartName] = PARTS) -> None:
        """Load the pre-trained weights that the settings of these parts request."""
        for name in names:
            part: Any = getattr(self, name)
            for each in part.values() if name == "objectives" else [part]:
                each.load_pretrained()
            if name != "objectives" and (frozen := frozen_weights(part)):
                self.frozen[name] = frozen

    def load_weights(self, weights: Mapping[str, Tensor], frozen: Mapping[str, Frozen]) -> None:
        """Load the weights of a checkpoint.

        Args:
            weights: The weights that it holds.
            frozen: The weights that it only refers to, by part.

        Raises:
            ValueError: Frozen weights cannot be loaded, or have changed.
            RuntimeError: The weights do not fit this model.
        """
        named = {
            f"{name}.{key}": value
            for name, part in frozen.items()
            for key, value in load_frozen(getattr(self, name), name, part).items()
        }
        self.load_state_dict({**weights, **named})
        self.frozen = dict(frozen)

    def encode(self, before: Side, after: Side) -> tuple[Grid, Grid]:
        """Encode both images; grids that the dataset provides (see `kept`) are returned unchanged.

        Raises:
            ValueError: The encoder does not take such inputs.
        """
        if before.dtype == torch.float16:  # features are stored in half precision
            before, after = before.float(), after.float()
        if self.kept and before.dtype != torch.uint8 and tuple(before.shape[1:]) == self.kept:
            return before, after
        self.encoder.check(before)
        return self.encoder.pair(before, after)

    def fuse(self, before: Side, after: Side) -> Fused:
        """Encode both images and fuse their grids."""
        return self.fusion(*self.encode(before, after))

    def forward(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """Compute the loss; wrappers such as DistributedDataParallel call `forward`."""
        return self.loss(batch)

    def loss(self, batch: TrainingBatch, fused: Fused | None = None) -> dict[str, Tensor]:
        """Compute every objective and their weighted total.

        Args:
            batch: Pairs with captions.
            fused: The fused pairs, if already computed.

        Returns:
            The total as "loss", and each objective, unweighted, under its own name.
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
        """Write one caption per pair, normally in eval mode; `how` is passed to `write`."""
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

        With `locate` the result includes a change map: the fusion's if there is one, otherwise the decoder's attention.
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
        """Compute a change map whose largest cell is 1; None without a fusion's map or attention over a grid.

        Args:
            fused: The fused pairs.
            tokens: Their captions, as in `Generated`.
        """
        change_map = fused.change_map
        if change_map is None:
            vocab = self.decoder.vocab
            begun = torch.cat([torch.full_like(tokens[:, :1], vocab.bos_id), tokens[:, :-1]], dim=1)
            attention = self.decoder(fused.memory, begun).attention
            if attention is None or fused.grid is None:
                return None
            # Average over the tokens without padding; add up the slots of one cell.
            words = until_end(tokens, vocab.eos_id).float()[..., None]
            slots = (attention * words).sum(1) / words.sum(1).clamp(min=1)
            height, width = fused.grid
            change_map = slots.unflatten(1, (-1, height, width)).sum(1)
        return change_map / change_map.flatten(1).amax(1).clamp(min=1e-12)[:, None, None]
