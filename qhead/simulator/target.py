"""The exact simulator as an execution target."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2

from hardware.workload import Expectations, Workload
from qhead.simulator.observables import as_terms
from qhead.simulator.simulator import Simulator


@dataclass(frozen=True)
class ExactTarget:
    """Runs workloads exactly, in double precision: no shots, no noise.

    Args:
        simulator: What compiles and remembers the circuits.
    """

    simulator: Simulator = field(default_factory=Simulator, repr=False, compare=False)

    @property
    def spec(self) -> str:
        """``"exact"``."""
        return "exact"

    def estimator(self) -> BaseEstimatorV2:
        """Return an `ExactEstimator`."""
        from qhead.simulator.estimator import ExactEstimator

        return ExactEstimator(self.simulator)

    def sampler(self) -> BaseSamplerV2:
        """Return an `ExactSampler` that gives probabilities."""
        from qhead.simulator.sampler import ExactSampler

        return ExactSampler(self.simulator, default_shots=None)

    def run(self, workload: Workload) -> Expectations:
        """Return exact expectation values, with standard errors of zero."""
        terms = [as_terms(observable) for observable in workload.observables]
        values = self.simulator.expectations(workload.circuit, terms, workload.ordered_values())
        return Expectations(values, np.zeros_like(values), self.spec)
