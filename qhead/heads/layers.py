"""Layers that draw their initial weights from a given generator."""

from __future__ import annotations

import math

import torch
from torch import nn


def linear(num_inputs: int, num_outputs: int, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer with torch's usual initialisation, drawn from `generator`.

    Weights and biases are uniform in ±1/√num_inputs, as `nn.Linear` has them; but `nn.Linear`
    itself draws from the global generator, whence `skip_init`.
    """
    layer = nn.utils.skip_init(nn.Linear, num_inputs, num_outputs)
    bound = 1 / math.sqrt(num_inputs)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    assert isinstance(layer, nn.Linear)
    return layer
