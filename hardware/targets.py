"""Where a workload can be run, behind one small protocol."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2

from hardware.workload import Expectations, Workload


@runtime_checkable
class ExecutionTarget(Protocol):
    """A place that runs workloads: a simulator, an emulator or a device."""

    @property
    def spec(self) -> str:
        """The canonical specification, e.g. ``"noisy:0.001,0.01:4096"``."""

    def estimator(self) -> BaseEstimatorV2:
        """Return a V2 estimator that runs here, for `EstimatorQNN`."""

    def sampler(self) -> BaseSamplerV2:
        """Return a V2 sampler that runs here, for `SamplerQNN`."""

    def run(self, workload: Workload) -> Expectations:
        """Run all parameter sets of a workload and return their expectation values."""
