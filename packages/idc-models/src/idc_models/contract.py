"""The interfaces of encoders, fusions, decoders and objectives.

Axes in the shape annotations: b pairs in a batch, n captions in a batch, c h w image, gh gw grid, d visual width,
m memory slots, e memory width, l caption tokens, v vocabulary, s decoder state. Positional constructor arguments come
from the neighbouring part. Keyword-only arguments are the settings of a spec; their annotations and defaults are the
schema.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, UInt8
from pydantic import Field
from torch import Tensor, nn

#: A setting in [0, 1), such as a dropout rate.
Rate = Annotated[float, Field(ge=0, lt=1)]

#: Images as they come from a loader: RGB, bytes or floats in [0, 1].
Images = UInt8[Tensor, "b 3 h w"] | Float[Tensor, "b 3 h w"]

#: One side of a pair, batch first: images, or features computed beforehand.
Side = Images | Float[Tensor, "b ..."]

#: An encoder's output: one feature vector per cell.
Grid = Float[Tensor, "b gh gw d"]

#: A decoder's state between two tokens: named tensors, each batch first.
State = dict[str, Tensor]


@dataclass(frozen=True)
class Widths:
    """Widths of the tensors that an objective may read."""

    visual: int
    """Width of a cell of the encoder's grids."""
    memory: int
    """Width of a slot of the memory."""
    state: int
    """Width of the decoder's states."""


@runtime_checkable
class TokenSpace(Protocol):
    """What a model needs to know about tokens; any tokenizer with these members will do."""

    @property
    def size(self) -> int:
        """Number of tokens, including the special ones."""
        ...

    @property
    def pad_id(self) -> int:
        """Token that pads a caption to the length of its batch; `eos_id` if the tokenizer has no padding token."""
        ...

    @property
    def bos_id(self) -> int:
        """Token at the start of every caption; it may equal `eos_id`, as in GPT-2."""
        ...

    @property
    def eos_id(self) -> int:
        """Token at the end of every caption."""
        ...

    @property
    def max_length(self) -> int:
        """Maximum number of tokens of a caption, including bos and eos."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids up to the first eos."""
        ...


@runtime_checkable
class TrainingBatch(Protocol):
    """Image pairs and their captions: the input of `Captioner.loss`."""

    @property
    def before(self) -> Side:
        """Before images."""
        ...

    @property
    def after(self) -> Side:
        """After images."""
        ...

    @property
    def tokens(self) -> Int[Tensor, "n l"]:
        """Captions: bos, words, eos, padding."""
        ...

    @property
    def lengths(self) -> Int[Tensor, " n"]:
        """Number of tokens of each caption, including bos and eos, without padding."""
        ...

    @property
    def pair(self) -> Int[Tensor, " n"]:
        """Index of the pair that each caption describes."""
        ...

    @property
    def shared(self) -> Bool[Tensor, "b b"]:
        """True where two pairs share a reference; the diagonal is True."""
        ...

    @property
    def references(self) -> Sequence[Sequence[str]]:
        """All captions of each pair, as text."""
        ...

    @property
    def scene(self) -> Bool[Tensor, "b b"]:
        """True where two pairs show the same scene; the diagonal is True."""
        ...


@dataclass(frozen=True)
class Fused:
    """The output of a fusion."""

    memory: Float[Tensor, "b m e"]
    """What the decoder attends to. Most built-in fusions have one slot per grid cell, row by row."""
    change_map: Float[Tensor, "b gh gw"] | None = None
    """Where the change is, in [0, 1], if the fusion locates it."""
    grid: tuple[int, int] | None = None
    """Height and width of the grid whose cells are the memory's slots, row by row, once or several times over; None if
    slots are not cells. With it, the decoder's attention shows where the change is."""
    extras: dict[str, Tensor] = field(default_factory=dict)
    """Named tensors, batch first, for objectives: tokens of either side, match matrices."""


@dataclass(frozen=True)
class Decoded:
    """The output of a decoder for given captions: `logits[:, t]` predicts `tokens[:, t + 1]`."""

    logits: Float[Tensor, "n l v"]
    states: Float[Tensor, "n l s"]
    """Hidden state at each position, from which the logits are computed."""
    attention: Float[Tensor, "n l m"] | None = None
    """Attention from each position to the memory slots; sums to 1 over the slots."""
    extras: dict[str, Tensor] = field(default_factory=dict)
    """Named tensors, captions first, for objectives."""


@dataclass(frozen=True)
class Generated:
    """One caption per pair, written by the model."""

    tokens: Int[Tensor, "b l"]
    """Token ids without bos, with eos unless the length limit was reached, then padding."""
    log_probs: Float[Tensor, " b"]
    """Natural log-probability of each caption: the sum over its tokens, including eos."""
    alternatives: Int[Tensor, "b k l"] | None = None
    """All hypotheses of the beam, best first; None without a beam."""
    alternative_log_probs: Float[Tensor, "b k"] | None = None
    """Natural log-probability of each hypothesis."""
    change_map: Float[Tensor, "b gh gw"] | None = None
    """Where the model sees the change; the largest cell of each pair is 1. None if not requested or not available."""


class Part(nn.Module):
    """Base class of encoders, fusions, decoders and objectives."""

    libraries: ClassVar[tuple[str, ...]] = ()
    """Optional distributions that the part imports: a registered model requires those that are installed where it is
    registered."""

    def load_pretrained(self) -> None:
        """Load the pre-trained weights that the settings request; by default there are none.

        Called once after construction, but not before a checkpoint that holds all weights is loaded. The constructor
        itself must use neither disk nor network.
        """

    def origin(self) -> str | None:
        """Return the file or model that `load_pretrained` loads, if it yields the same weights each time.

        Checkpoints then hold this name and hashes instead of the frozen weights (`requires_grad` is False). With None,
        the default, they hold all weights.
        """
        return None


class Encoder(Part):
    """Turns images into grids of features; sets `dim`, the width of a cell."""

    dim: int
    features: tuple[int, ...] | None = None
    """Shape of one image's features if `pair` takes features instead of images; None if it takes images. An encoder of
    features that overrides `forward` also takes images."""

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Grid:
        """Encode images with values in [0, 1]; further normalisation is up to the encoder."""
        raise NotImplementedError

    def pair(self, before: Side, after: Side) -> tuple[Grid, Grid]:
        """Encode both sides of each pair.

        By default `forward` encodes both images in one batch, with shared weights. An encoder that sees both images
        together, or takes features, overrides this method and needs no `forward`.

        Args:
            before: Images as bytes or as floats in [0, 1].
            after: Likewise.
        """
        images = torch.cat([before, after]).contiguous(memory_format=torch.channels_last)  # faster convolutions
        if images.dtype == torch.uint8:
            images = images.float() / 255
        before_grid, after_grid = self(images).chunk(2)
        return before_grid, after_grid

    @property
    def takes_images(self) -> bool:
        """Whether `pair` takes images."""
        return self.features is None or type(self).forward is not Encoder.forward

    def check(self, side: Side) -> None:
        """Check that `pair` takes the inputs of a dataset.

        Raises:
            ValueError: The dataset provides features but the encoder takes images, or the reverse, or the features have
                another shape.
        """
        shape, name = tuple(side.shape[1:]), type(self).__name__
        image = side.dtype == torch.uint8 or (len(shape) == 3 and shape[0] == 3)
        if shape == self.features and side.dtype != torch.uint8 or image and self.takes_images:
            return
        given = "images" if image else f"features of shape {list(shape)}"
        wanted = "images" if self.features is None else f"features of shape {list(self.features)}"
        raise ValueError(
            f"the dataset provides {given}, but the encoder {name} takes {wanted}; choose another encoder, other "
            "settings of it, another dataset, or other data.features"
        )

    @property
    def siamese(self) -> bool:
        """Whether each image is encoded independently, so that swapping the images swaps their grids."""
        return type(self).pair is Encoder.pair


class Fusion(Part):
    """Turns the two grids into the decoder's memory; sets `memory_dim`, the width of a slot."""

    memory_dim: int
    slots: ClassVar[int | None] = None
    """Number of memory slots, if it does not depend on the size of the grid."""

    def __init__(self, visual_dim: int) -> None:
        super().__init__()

    def forward(self, before: Grid, after: Grid) -> Fused:
        """Fuse the grids of the before and the after image."""
        raise NotImplementedError


class Decoder(Part):
    """Turns memory and previous tokens into logits of the next token; keeps `vocab`, sets `state_dim`.

    `start`, `step` and `reorder` decode token by token. By default they run `forward` over all previous tokens, which
    is correct for every decoder but slow for long captions. A decoder with a cache overrides `start` and `step`.
    """

    state_dim: int
    """Width of `Decoded.states`."""
    slots: ClassVar[int | None] = None
    """Number of memory slots, if the decoder supports only this number; the fusion must have the same `slots`."""
    of_memory: ClassVar[str | None] = None
    """Prefix of the state entries that depend on the memory only, if the decoder can share a memory among captions.
    `forward` and `step` then accept one row of memory for k consecutive captions, and beam search keeps one row per
    pair in these entries. None if every caption needs its own row of memory."""

    def __init__(self, memory_dim: int, vocab: TokenSpace) -> None:
        super().__init__()
        self.vocab = vocab

    def forward(self, memory: Float[Tensor, "n m e"], tokens: Int[Tensor, "n l"]) -> Decoded:
        """Predict the token after each position from the tokens up to that position."""
        raise NotImplementedError

    def start(self, memory: Float[Tensor, "n m e"]) -> State:
        """Return the state before the first token."""
        return {"memory": memory, "tokens": torch.empty(len(memory), 0, dtype=torch.long, device=memory.device)}

    def step(self, state: State, token: Int[Tensor, " n"]) -> tuple[Float[Tensor, "n v"], State]:
        """Process one token; return the logits of the next token and the new state."""
        tokens = torch.cat([state["tokens"], token[:, None]], dim=1)
        return self(state["memory"], tokens).logits[:, -1], {"memory": state["memory"], "tokens": tokens}

    @torch.no_grad()
    def hear(self, memory: Float[Tensor, "n m e"], tokens: Int[Tensor, "n l"], share: float) -> Int[Tensor, "n l"]:
        """Replace a share of the tokens, except the first, with samples from the decoder.

        A token is sampled from the prediction that follows the tokens before it, including replaced ones. No gradient
        passes through the samples. Source: Bengio et al., Scheduled Sampling, NeurIPS 2015.
        """
        state, heard = self.start(memory), [tokens[:, 0]]
        for given in tokens.unbind(1)[1:]:
            logits, state = self.step(state, heard[-1])
            drawn = torch.multinomial(logits.float().softmax(1), 1)[:, 0]
            heard.append(torch.where(torch.rand(len(given), device=given.device) < share, drawn, given))
        return torch.stack(heard, dim=1)

    def reorder(self, state: State, index: Int[Tensor, " k"]) -> State:
        """Return the state whose row i is the old row `index[i]`."""
        return {name: value.index_select(0, index) for name, value in state.items()}


@dataclass(frozen=True)
class Outputs:
    """The input of an objective: b fused pairs and n captions of them."""

    fused: Fused
    decoder: Decoder
    """For objectives that generate captions, or decode captions that are not in the batch."""
    tokens: Int[Tensor, "n l"]
    lengths: Int[Tensor, " n"]
    """Number of tokens of each caption, including bos and eos, without padding."""
    pair: Int[Tensor, " n"]
    """Index of the pair that each caption describes."""
    shared: Bool[Tensor, "b b"]
    """True where two pairs share a reference."""
    references: Sequence[Sequence[str]]
    """All captions of each pair, as text."""
    scene: Bool[Tensor, "b b"]
    """True where two pairs show the same scene, so that neither can be a negative example of the other."""
    drawn: float = 0.0
    """Share of the tokens that are replaced with the decoder's own samples (see `Decoder.hear`)."""

    @cached_property
    def decoded(self) -> Decoded:
        """The decoder's output at positions 0 .. l - 2 of the captions; the last token predicts nothing.

        Computed on first use, so that objectives without teacher forcing do not pay for it.
        """
        tokens = self.tokens[:, :-1]
        if self.drawn:
            tokens = self.decoder.hear(self.fused.memory.index_select(0, self.pair), tokens, self.drawn)
        return self.read(tokens)

    def read(self, tokens: Int[Tensor, "n l"]) -> Decoded:
        """Run the decoder on captions of the batch's pairs, in the order of `pair`."""
        memory = self.fused.memory
        if self.decoder.of_memory is None or not self._even:
            memory = memory.index_select(0, self.pair)  # repeats the memory of a pair with several captions
        return self.decoder(memory, tokens)

    @cached_property
    def _even(self) -> bool:
        """Whether every pair has the same number of captions, at least two, in the order of the pairs."""
        pairs, captions = len(self.fused.memory), len(self.pair)
        if captions <= pairs or captions % pairs:
            return False
        pair = torch.arange(pairs, device=self.pair.device)
        return torch.equal(self.pair, pair.repeat_interleave(captions // pairs))

    @property
    def targets(self) -> Int[Tensor, "n l"]:
        """The token that each position of `decoded` must predict."""
        return self.tokens[:, 1:]

    @property
    def mask(self) -> Bool[Tensor, "n l"]:
        """True where `targets` holds a token, False on padding."""
        return torch.arange(1, self.tokens.shape[1], device=self.tokens.device) < self.lengths[:, None]

    def extra(self, name: str) -> Tensor:
        """Return one of the fusion's extras.

        Raises:
            ValueError: The fusion does not provide it.
        """
        if name not in self.fused.extras:
            known = ", ".join(sorted(self.fused.extras)) or "none"
            raise ValueError(f"an objective needs the extra {name!r}, but the fusion provides: {known}")
        return self.fused.extras[name]


class Objective(Part):
    """A loss term; its own parameters are trained and saved with the model."""

    fusion: ClassVar[str | None] = None
    """Name of a fusion that provides the extras this objective reads; the contract suite tests it with that fusion."""
    decoder: ClassVar[str | None] = None
    """Likewise, a decoder that provides them."""

    def __init__(self, widths: Widths, vocab: TokenSpace) -> None:
        super().__init__()

    def meet(self, references: Callable[[], Sequence[Sequence[str]]]) -> None:
        """Prepare for training, for example with statistics of the training captions; does nothing by default.

        Args:
            references: Returns the references of each training pair; of an endless dataset, those of the first pairs.
        """

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Compute the unweighted loss of one batch."""
        raise NotImplementedError


#: Base class of each kind of plugin.
BASES: dict[str, type[Part]] = {"encoder": Encoder, "fusion": Fusion, "decoder": Decoder, "objective": Objective}
