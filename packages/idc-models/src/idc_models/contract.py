"""What an encoder, a fusion, a decoder and an objective promise to each other.

Axes in the shape annotations: b pairs in a batch, n captions in a batch, c h w image, gh gw grid, d visual width,
m memory slots, e memory width, l caption tokens, v vocabulary, s decoder state. Positional constructor arguments are
wired from the neighbouring part; keyword-only ones are the settings of a spec: their annotations and defaults are its
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

#: One side of a pair: images, or features that were computed before, the batch first.
Side = Images | Float[Tensor, "b ..."]

#: What an encoder makes of an image.
Grid = Float[Tensor, "b gh gw d"]

#: What a decoder remembers between two tokens: named tensors, the batch first in each of them.
State = dict[str, Tensor]


@dataclass(frozen=True)
class Widths:
    """How wide the tensors are that an objective may look at."""

    visual: int
    """Of a cell of the encoder's grids."""
    memory: int
    """Of a slot of the memory."""
    state: int
    """Of the decoder's states."""


@runtime_checkable
class TokenSpace(Protocol):
    """What a model must know about text; any tokenizer that has these will do."""

    @property
    def size(self) -> int:
        """Number of tokens, the special ones included."""
        ...

    @property
    def pad_id(self) -> int:
        """Token that fills a caption up to the length of its batch; `eos_id` where a tokenizer has none."""
        ...

    @property
    def bos_id(self) -> int:
        """Token that every caption begins with; it may be `eos_id`, as in GPT-2."""
        ...

    @property
    def eos_id(self) -> int:
        """Token that every caption ends with."""
        ...

    @property
    def max_length(self) -> int:
        """Most tokens that a caption has, bos and eos included."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Spell the caption of token ids, up to the first eos."""
        ...


@runtime_checkable
class TrainingBatch(Protocol):
    """Image pairs and their captions, as `Captioner.loss` takes them."""

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
        """Tokens of each caption, bos and eos included, padding not."""
        ...

    @property
    def pair(self) -> Int[Tensor, " n"]:
        """Which pair of the batch each caption describes."""
        ...

    @property
    def shared(self) -> Bool[Tensor, "b b"]:
        """True where two pairs have a reference in common; the diagonal is True."""
        ...

    @property
    def references(self) -> Sequence[Sequence[str]]:
        """All captions of each pair, as text."""
        ...

    @property
    def scene(self) -> Bool[Tensor, "b b"]:
        """True where two pairs show one scene; the diagonal is True."""
        ...


@dataclass(frozen=True)
class Fused:
    """The memory that a fusion makes of two grids, and what else it found out."""

    memory: Float[Tensor, "b m e"]
    """What the decoder attends to. The built-in fusions keep one slot per grid cell, row by row."""
    change_map: Float[Tensor, "b gh gw"] | None = None
    """Where the change is, in [0, 1], if the fusion says so."""
    grid: tuple[int, int] | None = None
    """Height and width of the grid whose cells are the memory's slots row by row, once or several times over; None if
    slots are not places. With it, the decoder's attention shows where the change is."""
    extras: dict[str, Tensor] = field(default_factory=dict)
    """Named tensors, the batch first, for objectives that look inside: tokens of either side, match matrices."""


@dataclass(frozen=True)
class Decoded:
    """What a decoder makes of captions that it is given: `logits[:, t]` predicts `tokens[:, t + 1]`."""

    logits: Float[Tensor, "n l v"]
    states: Float[Tensor, "n l s"]
    """The decoder's representation of each position, from which the logits are computed."""
    attention: Float[Tensor, "n l m"] | None = None
    """Share of each memory slot in the prediction at each position; sums to 1 over the slots."""
    extras: dict[str, Tensor] = field(default_factory=dict)
    """Named tensors, the captions first, for objectives that look inside."""


@dataclass(frozen=True)
class Generated:
    """One caption per pair, written by the model."""

    tokens: Int[Tensor, "b l"]
    """Without bos, with eos (unless the length limit came first), padded after it."""
    log_probs: Float[Tensor, " b"]
    """Natural log-probability of each caption: the sum over its tokens, eos included."""
    alternatives: Int[Tensor, "b k l"] | None = None
    """All hypotheses of the beam, best first; None without a beam."""
    alternative_log_probs: Float[Tensor, "b k"] | None = None
    """Natural log-probability of each of them."""
    change_map: Float[Tensor, "b gh gw"] | None = None
    """Where the model sees the change, 1 at the largest of each pair; None unless asked for, or nothing says so."""


class Part(nn.Module):
    """What encoders, fusions, decoders and objectives have in common."""

    def load_pretrained(self) -> None:
        """Load the pre-trained weights that the settings ask for; by default there are none.

        Called once after construction, and not at all when a checkpoint is about to be loaded that holds all weights:
        constructing a part touches neither disk nor network.
        """

    def origin(self) -> str | None:
        """Name the file or the model that `load_pretrained` loads, if it gives the same weights each time.

        Checkpoints then hold this name and hashes in place of the weights that are frozen (`requires_grad` is False).
        By default None: they hold all weights.
        """
        return None


class Encoder(Part):
    """Turns images into grids of features; publishes `dim`, the width of a cell."""

    dim: int
    features: tuple[int, ...] | None = None
    """Shape of the features of one image that `pair` takes in place of the image; None if it takes images. An encoder
    of features takes images, too, if it has a `forward`."""

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Grid:
        """Encode images with values in [0, 1]; the encoder normalises them as it likes."""
        raise NotImplementedError

    def pair(self, before: Side, after: Side) -> tuple[Grid, Grid]:
        """Encode both sides of each pair.

        Here `forward` sees both images with the same weights, in one batch. An encoder that looks at the two together,
        or takes features that were computed before, overrides this and needs no `forward`.

        Args:
            before: images as bytes or as floats in [0, 1].
            after: likewise.
        """
        images = torch.cat([before, after]).contiguous(memory_format=torch.channels_last)  # faster convolutions
        if images.dtype == torch.uint8:
            images = images.float() / 255
        before_grid, after_grid = self(images).chunk(2)
        return before_grid, after_grid

    @property
    def takes_images(self) -> bool:
        """Whether `pair` takes images, as somebody has them who wants a caption."""
        return self.features is None or type(self).forward is not Encoder.forward

    def check(self, side: Side) -> None:
        """Check that `pair` takes what a dataset gives.

        Raises:
            ValueError: it gives features to an encoder of images, images to an encoder of features, or other features.
        """
        shape, name = tuple(side.shape[1:]), type(self).__name__
        image = side.dtype == torch.uint8 or (len(shape) == 3 and shape[0] == 3)
        if shape == self.features and side.dtype != torch.uint8 or image and self.takes_images:
            return
        given = "images" if image else f"features of shape {list(shape)}"
        wanted = "images" if self.features is None else f"features of shape {list(self.features)}"
        raise ValueError(
            f"the dataset gives {given}, but the encoder {name} takes {wanted}; choose an encoder, its settings or "
            "a dataset that fits"
        )

    @property
    def siamese(self) -> bool:
        """Whether each image is seen by itself, so that a swapped pair has the same grids, swapped."""
        return type(self).pair is Encoder.pair


class Fusion(Part):
    """Turns the two grids into the decoder's memory; publishes `memory_dim`, the width of a slot."""

    memory_dim: int
    slots: ClassVar[int | None] = None
    """How many slots the memory has, if it is the same number for grids of any size."""

    def __init__(self, visual_dim: int) -> None:
        super().__init__()

    def forward(self, before: Grid, after: Grid) -> Fused:
        """Fuse the grids of the before and the after image."""
        raise NotImplementedError


class Decoder(Part):
    """Turns memory and the tokens so far into logits of the next token; keeps `vocab`, publishes `state_dim`.

    `start`, `step` and `reorder` decode token by token. Here they run `forward` over all tokens so far, which is right
    for every decoder and slow for long captions; a decoder with a cache overrides `start` and `step`.
    """

    state_dim: int
    """Width of `Decoded.states`."""
    slots: ClassVar[int | None] = None
    """How many slots of memory it reads, if it can read no other number: those of a fusion that says the same."""
    of_memory: ClassVar[str | None] = None
    """How the names of what `start` makes of a memory begin, if `forward` and `step` take k captions in a row for each
    row of memory. Then the memory is read once a pair and not once a caption: `forward` is given a row for each pair,
    and while a beam is searched these entries of the state keep one row a pair. None: captions have a row each."""

    def __init__(self, memory_dim: int, vocab: TokenSpace) -> None:
        super().__init__()
        self.vocab = vocab

    def forward(self, memory: Float[Tensor, "n m e"], tokens: Int[Tensor, "n l"]) -> Decoded:
        """Predict the token after each position, having seen the tokens up to that position only."""
        raise NotImplementedError

    def start(self, memory: Float[Tensor, "n m e"]) -> State:
        """Give the state before the first token."""
        return {"memory": memory, "tokens": torch.empty(len(memory), 0, dtype=torch.long, device=memory.device)}

    def step(self, state: State, token: Int[Tensor, " n"]) -> tuple[Float[Tensor, "n v"], State]:
        """Read one token; give the logits of the next one and the new state."""
        tokens = torch.cat([state["tokens"], token[:, None]], dim=1)
        return self(state["memory"], tokens).logits[:, -1], {"memory": state["memory"], "tokens": tokens}

    @torch.no_grad()
    def hear(self, memory: Float[Tensor, "n m e"], tokens: Int[Tensor, "n l"], share: float) -> Int[Tensor, "n l"]:
        """Put tokens that it draws in the place of a share of those given, but for the first.

        Each is drawn from what it expects after those before it, drawn ones among them (scheduled sampling: Bengio et
        al., NeurIPS 2015), token by token, and no gradient passes through the draw.
        """
        state, heard = self.start(memory), [tokens[:, 0]]
        for given in tokens.unbind(1)[1:]:
            logits, state = self.step(state, heard[-1])
            drawn = torch.multinomial(logits.float().softmax(1), 1)[:, 0]
            heard.append(torch.where(torch.rand(len(given), device=given.device) < share, drawn, given))
        return torch.stack(heard, dim=1)

    def reorder(self, state: State, index: Int[Tensor, " k"]) -> State:
        """Give the state of a batch whose row i is the old row `index[i]`."""
        return {name: value.index_select(0, index) for name, value in state.items()}


@dataclass(frozen=True)
class Outputs:
    """Everything that an objective may look at: b pairs, fused, and n captions of them."""

    fused: Fused
    decoder: Decoder
    """To write captions with, or to read others than those of the batch."""
    tokens: Int[Tensor, "n l"]
    lengths: Int[Tensor, " n"]
    """Tokens of each caption, bos and eos included, padding not."""
    pair: Int[Tensor, " n"]
    """Which pair each caption describes."""
    shared: Bool[Tensor, "b b"]
    """True where two pairs have a reference in common."""
    references: Sequence[Sequence[str]]
    """All captions of each pair, as text."""
    scene: Bool[Tensor, "b b"]
    """True where two pairs show one scene, so that neither is a counter-example of the other."""
    drawn: float = 0.0
    """Share of the tokens that the decoder hears as it draws them itself (see `Decoder.hear`)."""

    @cached_property
    def decoded(self) -> Decoded:
        """What the decoder makes of the captions, over the positions 0 .. l - 2: the last token predicts nothing.

        Computed when an objective first asks, so that training without teacher forcing does not pay for it.
        """
        tokens = self.tokens[:, :-1]
        if self.drawn:
            tokens = self.decoder.hear(self.fused.memory.index_select(0, self.pair), tokens, self.drawn)
        return self.read(tokens)

    def read(self, tokens: Int[Tensor, "n l"]) -> Decoded:
        """Have the decoder read captions of the batch's pairs, in the order of `pair`."""
        memory = self.fused.memory
        if self.decoder.of_memory is None or not self._even:
            memory = memory.index_select(0, self.pair)  # several captions share the memory of their pair
        return self.decoder(memory, tokens)

    @cached_property
    def _even(self) -> bool:
        """Whether each pair has the same number of captions, more than one, in the order of the pairs."""
        pairs, captions = len(self.fused.memory), len(self.pair)
        if captions <= pairs or captions % pairs:
            return False
        pair = torch.arange(pairs, device=self.pair.device)
        return torch.equal(self.pair, pair.repeat_interleave(captions // pairs))

    @property
    def targets(self) -> Int[Tensor, "n l"]:
        """The token that each position of `decoded` has to predict."""
        return self.tokens[:, 1:]

    @property
    def mask(self) -> Bool[Tensor, "n l"]:
        """True where there is a token to predict, False on padding."""
        return torch.arange(1, self.tokens.shape[1], device=self.tokens.device) < self.lengths[:, None]

    def extra(self, name: str) -> Tensor:
        """Give one of the fusion's extras.

        Raises:
            ValueError: the fusion gives none of this name.
        """
        if name not in self.fused.extras:
            known = ", ".join(sorted(self.fused.extras)) or "none"
            raise ValueError(f"the fusion gives no extra {name!r}, which an objective asks for; it gives: {known}")
        return self.fused.extras[name]


class Objective(Part):
    """Something to minimise; its own parameters are trained and saved with the model."""

    fusion: ClassVar[str | None] = None
    """Name of a fusion that gives the extras which this objective asks for; the contract suite runs it with that."""
    decoder: ClassVar[str | None] = None
    """Likewise a decoder whose extras it asks for."""

    def __init__(self, widths: Widths, vocab: TokenSpace) -> None:
        super().__init__()

    def meet(self, references: Callable[[], Sequence[Sequence[str]]]) -> None:
        """Be offered the references of the training split, pair by pair, before training; here none is read.

        Args:
            references: reads them; of an endless dataset those of the first pairs.
        """

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Compute the loss of one batch, before the weight that the spec gives it."""
        raise NotImplementedError


#: The class that a plugin of each kind extends.
BASES: dict[str, type[Part]] = {"encoder": Encoder, "fusion": Fusion, "decoder": Decoder, "objective": Objective}
