"""Surprise: the part of each image that the other does not explain. Our own method, not from a paper; no figures."""

import torch
from idc_models.contract import Decoded, Decoder, Fused, Fusion, Grid, Objective, Outputs, TokenSpace, Widths
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize


class Surprise(Fusion):
    """Fuses by the residual of each cell after subtracting similar cells of the other image.

    Cells find each other wherever they lie, so that a view that has shifted a little surprises little. A slot of the
    memory is what is left in one cell of before and, beside it, of after. Where much is left is the change map.
    """

    def __init__(self, visual_dim: int, *, dim: int = 64) -> None:
        super().__init__(visual_dim)
        self.memory_dim = dim
        self.sharpness = nn.Parameter(torch.tensor(2.0))
        self.look = nn.Linear(visual_dim, dim)
        self.project = nn.Linear(2 * dim, dim)
        self.place = nn.Linear(2, dim)

    def forward(self, before: Grid, after: Grid) -> Fused:
        """Fuse two grids."""
        height, width = before.shape[1:3]
        old, new = self.look(before.flatten(1, 2)), self.look(after.flatten(1, 2))
        alike = normalize(old, dim=2) @ normalize(new, dim=2).transpose(1, 2) * self.sharpness.exp()
        gone, come = old - alike.softmax(2) @ new, new - alike.transpose(1, 2).softmax(2) @ old
        rows, columns = (torch.linspace(-1, 1, side, device=old.device) for side in (height, width))
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=2).flatten(0, 1)
        memory = self.project(torch.cat([gone, come], dim=2)) + self.place(places)
        left = (gone.square().mean(2) + come.square().mean(2)).unflatten(1, (height, width))
        return Fused(memory.relu(), left / (1 + left), (height, width), {"surprise": left})


class Glance(Decoder):
    """Decodes with a GRU that attends to the memory after every word, without a cache, because captions are short."""

    def __init__(self, memory_dim: int, vocab: TokenSpace, *, dim: int = 64) -> None:
        super().__init__(memory_dim, vocab)
        self.state_dim = dim
        self.embedding = nn.Embedding(vocab.size, dim)
        self.words = nn.GRU(dim, dim, batch_first=True)
        self.query = nn.Linear(dim, memory_dim)
        self.join = nn.Linear(dim + memory_dim, dim)
        self.output = nn.Linear(dim, vocab.size)

    def forward(self, memory: Float[Tensor, "n m e"], tokens: Int[Tensor, "n l"]) -> Decoded:
        """Predict the token after each position."""
        heard, _ = self.words(self.embedding(tokens))
        attention = (self.query(heard) @ memory.transpose(1, 2) / memory.shape[2] ** 0.5).softmax(2)
        states = self.join(torch.cat([heard, attention @ memory], dim=2)).tanh()
        return Decoded(self.output(states), states, attention)


class Calm(Objective):
    """The mean residual over all cells, a sparsity penalty because most of an image is unchanged."""

    fusion = "surprise"

    def __init__(self, widths: Widths, vocab: TokenSpace) -> None:
        super().__init__(widths, vocab)

    def forward(self, outputs: Outputs) -> Float[Tensor, ""]:
        """Compute the mean of the square roots, which penalises small residuals most."""
        return (outputs.extra("surprise") + 1e-6).sqrt().mean()
