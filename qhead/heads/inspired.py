"""The quantum-inspired head: a classical control of the quantum head's shape."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from qhead import checks
from qhead.heads.base import TorchHead
from qhead.heads.layers import linear
from qhead.training_options import TrainingOptions


class InspiredHead(TorchHead):
    """Linear (d → Q) → sin → linear (Q → Q) → ReLU → linear (Q → K).

    The sine stands where a quantum head turns an angle into an expectation value; the width Q
    stands for its number of qubits. Nothing here is quantum. All three maps have a bias, so it
    has (d+1)·Q + (Q+1)·Q + (Q+1)·K parameters. A sketch used in teaching, not of the paper.

    Args:
        num_units: Width of the two inner layers (Q).
        training: How to train; None: the defaults of `TrainingOptions`.
        seed: Seed of the initial weights, the batches and the validation split.
    """

    kind = "inspired"
    inference_dtype = torch.float64

    def __init__(
        self, *, num_units: int = 10, training: TrainingOptions | None = None, seed: int = 0
    ) -> None:
        self.num_units = num_units
        self.training = training
        self.seed = seed

    def validate_options(self) -> None:
        super().validate_options()
        checks.count("num_units", self.num_units)

    def build_module(
        self,
        num_features: int,
        num_classes: int,
        features: NDArray[np.float32] | None,
        sample_weight: NDArray[np.float64] | None = None,
    ) -> nn.Module:
        generator = self.initialisation_generator()
        return nn.Sequential(
            linear(num_features, self.num_units, generator),
            _Sine(),
            linear(self.num_units, self.num_units, generator),
            nn.ReLU(),
            linear(self.num_units, num_classes, generator),
        )


class _Sine(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(x)
