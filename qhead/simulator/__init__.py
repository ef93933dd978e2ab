"""Exact, differentiable, batched statevector simulation behind Qiskit's own interfaces.

What only a training needs, Qiskit Machine Learning's gradients, is imported on its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardware.importing import on_demand

if TYPE_CHECKING:
    from qhead.simulator.estimator import AdjointEstimatorGradient, ExactEstimator
    from qhead.simulator.network import ExactEstimatorQNN
    from qhead.simulator.sampler import AdjointSamplerGradient, ExactSampler, ProbabilityArray
    from qhead.simulator.simulator import Simulator
    from qhead.simulator.target import ExactTarget

_EXPORTS = {
    "AdjointEstimatorGradient": "qhead.simulator.estimator",
    "AdjointSamplerGradient": "qhead.simulator.sampler",
    "ExactEstimator": "qhead.simulator.estimator",
    "ExactEstimatorQNN": "qhead.simulator.network",
    "ExactSampler": "qhead.simulator.sampler",
    "ExactTarget": "qhead.simulator.target",
    "ProbabilityArray": "qhead.simulator.sampler",
    "Simulator": "qhead.simulator.simulator",
}

__all__ = [
    "AdjointEstimatorGradient",
    "AdjointSamplerGradient",
    "ExactEstimator",
    "ExactEstimatorQNN",
    "ExactSampler",
    "ExactTarget",
    "ProbabilityArray",
    "Simulator",
]

__getattr__, __dir__ = on_demand(__name__, _EXPORTS)
