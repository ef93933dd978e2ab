"""Exact, differentiable, batched statevector simulation behind Qiskit's own interfaces."""

from qhead.simulator.estimator import AdjointEstimatorGradient, ExactEstimator
from qhead.simulator.network import ExactEstimatorQNN
from qhead.simulator.sampler import AdjointSamplerGradient, ExactSampler, ProbabilityArray
from qhead.simulator.simulator import Simulator
from qhead.simulator.target import ExactTarget

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
