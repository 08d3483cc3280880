"""Muon of our own file against timm's, Adam against PyTorch's, and what they spare."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from idc_run.training import eager
from idc_run.training.muon import Muon

SHAPES = [(8, 12), (48, 6), (16, 3, 3, 3), (12, 1, 5), (4, 600), (3, 5), (7,), (), (1, 9, 8), (30, 16)]
OPTIONS = {"lr": 0.02, "weight_decay": 0.1, "betas": (0.9, 0.98), "fallback_lr_scale": 0.2}


def trained(kind, **options):
    """Train parameters of every shape for a few steps; the last has a row per word."""
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    parameters[2].data = parameters[2].data.to(memory_format=torch.channels_last)
    *most, words = parameters
    optimizer = kind([{"params": most}, {"params": [words], "use_fallback": True, "weight_decay": 0.0}], **options)
    for step in range(6):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 / (step + 1)
        optimizer.zero_grad()
        for number, parameter in enumerate(parameters):
            if number != 1 or step:  # one is without a gradient at first
                parameter.grad = torch.randn_like(parameter) * 10.0**-step
        optimizer.step()
    return parameters


@pytest.mark.slow  # timm's import takes seconds
def test_muon_is_that_of_timm_bit_for_bit():
    from timm.optim.muon import Muon as Theirs

    for ours, theirs in zip(trained(Muon, **OPTIONS), trained(Theirs, **OPTIONS, nesterov=True), strict=True):
        assert torch.equal(ours, theirs), tuple(ours.shape)


@pytest.mark.slow  # a process of its own
def test_training_imports_neither_timm_nor_the_compiler():
    script = """
import sys, torch
from idc_run.training.eager import Adam, AdamW
from idc_run.training import eager
from idc_run.training.muon import Muon
weight = torch.nn.Parameter(torch.randn(8, 8))
given = {"lr": 0.1, "weight_decay": 0.0, "betas": (0.9, 0.99)}
for kind, more in ((Muon, {"fallback_lr_scale": 0.2}), (Adam, {"fused": True}), (AdamW, {"fused": True})):
    optimizer = kind([{"params": [weight]}], **given, **more)
    for _ in range(2):
        optimizer.zero_grad()
        (weight ** 2).sum().backward()
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
print(*{"timm", "torchvision", "torch._dynamo"} & set(sys.modules))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not ended.stdout.strip()


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_adam_is_that_of_pytorch_bit_for_bit(name):
    trained = []
    for kind in (getattr(torch.optim, name), getattr(eager, name)):
        torch.manual_seed(0)
        layer = torch.nn.Linear(8, 4)
        optimizer = kind(layer.parameters(), lr=0.1, weight_decay=0.01, fused=True)
        for _ in range(5):
            optimizer.zero_grad()
            layer(torch.randn(3, 8)).square().sum().backward()
            optimizer.step()
        trained.append(layer.weight)
    assert torch.equal(*trained)
