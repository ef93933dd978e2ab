"""Layers that draw their initial weights from a given generator."""

from __future__ import annotations

import math

import torch
from torch import nn


class _UnsetLinear(nn.Linear):
    """A linear layer without values yet.

    `nn.Linear` draws its values from the global generator; `nn.utils.skip_init` does not, but
    imports half a second of compiler.
    """

    def reset_parameters(self) -> None:
        pass


def linear_shapes(name: str, num_inputs: int, num_outputs: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes in the state of a linear layer called `name`."""
    return {f"{name}.weight": (num_outputs, num_inputs), f"{name}.bias": (num_outputs,)}


def linear(num_inputs: int, num_outputs: int, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer with torch's usual initialisation, drawn from `generator`.

    Weights and biases are uniform in ±1/√num_inputs.
    """
    layer = _UnsetLinear(num_inputs, num_outputs)
    bound = 1 / math.sqrt(num_inputs)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer
