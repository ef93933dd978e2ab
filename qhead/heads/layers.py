"""Parts of modules: layers that draw their weights from a given generator, principal axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


def principal_axes(centred: NDArray[np.floating[Any]], size: int) -> NDArray[np.float64]:
    """Return the first principal axes, at most `size`, of centred samples (n, d), one a row.

    The largest component of each is positive, as in scikit-learn's PCA.
    """
    axes = np.linalg.svd(centred.astype(np.float64), full_matrices=False)[2][:size]
    largest = np.abs(axes).argmax(axis=1)
    signed: NDArray[np.float64] = axes * np.sign(axes[np.arange(len(axes)), largest])[:, None]
    return signed


class _UnsetLinear(nn.Linear):
    """A linear layer without values yet.

    `nn.Linear` draws its values from the global generator; `nn.utils.skip_init` does not, but
    imports half a second of compiler.
    """

    def reset_parameters(self) -> None:
        pass


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
