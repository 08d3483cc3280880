"""Optimizers that do not import torch.compile.

PyTorch wraps the methods of its optimizers for its compiler. The first call of one imports torch._dynamo, which costs
one to four CPU seconds even if nothing is compiled. These classes have the same methods without the wrapper.
"""

from inspect import unwrap

import torch
from torch.optim import Optimizer


class Eager(Optimizer):
    """Mixin whose methods do not import the compiler; list it before the PyTorch class."""

    add_param_group = unwrap(Optimizer.add_param_group)
    zero_grad = unwrap(Optimizer.zero_grad)
    state_dict = unwrap(Optimizer.state_dict)
    load_state_dict = unwrap(Optimizer.load_state_dict)


class Adam(Eager, torch.optim.Adam):
    """PyTorch's Adam."""

    step = torch.no_grad()(unwrap(torch.optim.Adam.step))


class AdamW(Eager, torch.optim.AdamW):
    """PyTorch's AdamW."""

    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))
