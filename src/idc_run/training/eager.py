"""Optimizers that leave torch.compile out.

PyTorch wraps the methods of its optimizers for its compiler, and the first call of one imports torch._dynamo: one to
four CPU seconds at the start of a run that compiles nothing. Here are the same methods without the wrapping.
"""

from inspect import unwrap

import torch
from torch.optim import Optimizer


class Eager(Optimizer):
    """Base of an optimizer: none of its methods imports the compiler. To stand before a class of PyTorch's."""

    add_param_group = unwrap(Optimizer.add_param_group)
    zero_grad = unwrap(Optimizer.zero_grad)
    state_dict = unwrap(Optimizer.state_dict)
    load_state_dict = unwrap(Optimizer.load_state_dict)


class Adam(Eager, torch.optim.Adam):
    """Adam of PyTorch."""

    step = torch.no_grad()(unwrap(torch.optim.Adam.step))


class AdamW(Eager, torch.optim.AdamW):
    """AdamW of PyTorch."""

    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))
