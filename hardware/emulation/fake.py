"""The whole submit path against a local fake device: ``fake:NAME[:N]``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2

from hardware.circuits.adaptive import AdaptiveShots, LinearRule
from hardware.devices.backends import fake_backend, fake_name, fractional_fake
from hardware.devices.base import JobRequest
from hardware.devices.local import LocalDevice, run_locally
from hardware.emulation.calibrated import CalibratedTarget
from hardware.emulation.emulated import DEFAULT_SHOTS
from hardware.emulation.noise import readout_confusions, readout_remarks
from hardware.errors import InvalidInputError
from hardware.planning.options import PlanOptions
from hardware.planning.plan import JobPlan
from hardware.planning.planner import plan
from hardware.planning.pubs import job_request, unpack
from hardware.planning.rounds import next_round
from hardware.workload import Expectations, Workload


def local_device(name: str) -> LocalDevice:
    """Return a fake device for `hardware.runs.runner`: the client's primitives over a simulator.

    Tiles are simulated one by one, each under the calibration of its own qubits.

    Raises:
        UnknownBackendError: No fake backend has this name.
    """
    from hardware.emulation.tiled import ComponentSimulator

    backend = fake_backend(name)

    def execute(request: JobRequest) -> object:
        own = fractional_fake(backend) if request.fractional_gates else backend
        return run_locally(request, ComponentSimulator.of(own))

    return LocalDevice(backend, execute)


@dataclass(frozen=True)
class FakeTarget:
    """A fake device, planned, tiled and run through the client's primitives.

    The blocking short form: no ledger. `estimator` and `sampler`, which take one circuit at a time,
    are those of ``aer:NAME``, the same calibration on the best tile.

    Args:
        backend: Short name of a fake backend, e.g. ``"fez"``.
        options: Shots, tiles, mitigation; its seed is that of the shots.
    """

    backend: str
    options: PlanOptions = field(default_factory=PlanOptions)

    def __post_init__(self) -> None:
        object.__setattr__(self, "backend", fake_name(self.backend))

    @classmethod
    def of(cls, backend: str, shots: int = DEFAULT_SHOTS, seed: int | None = None) -> FakeTarget:
        """Return a target with default options.

        Raises:
            InvalidInputError: Shots out of range or a negative seed.
        """
        if seed is not None and seed < 0:
            raise InvalidInputError(f"Expected a seed of zero or more, got {seed}.")
        return cls(backend, PlanOptions(shots=shots, seed=seed))

    @property
    def spec(self) -> str:
        """The canonical specification."""
        return f"fake:{self.backend}:{self.options.shots}"

    def estimator(self) -> BaseEstimatorV2:
        """Return a V2 estimator under the same calibration."""
        return self._one_tile().estimator()

    def sampler(self) -> BaseSamplerV2:
        """Return a V2 sampler under the same calibration."""
        return self._one_tile().sampler()

    def _one_tile(self) -> CalibratedTarget:
        options = self.options
        return CalibratedTarget(self.backend, shots=options.shots, seed=options.seed)

    def plan(self, workload: Workload, rule: LinearRule | None = None) -> JobPlan:
        """Return the plan of a workload on this device; adaptive shots need a rule for labels."""
        backend = fake_backend(self.backend)
        if self.options.fractional_gates:
            backend = fractional_fake(backend)
        return plan(workload, backend, self.options, target=self.spec, rule=rule)

    def run_adaptive(
        self, workload: Workload, rule: LinearRule, adaptive: AdaptiveShots | None = None
    ) -> Expectations:
        """Run the rows in rounds, as `EmulatedTarget.run_adaptive`."""
        chosen = adaptive or self.options.adaptive or AdaptiveShots()
        options = replace(self.options, adaptive=chosen)
        return replace(self, options=options).run(workload, rule)

    def run(self, workload: Workload, rule: LinearRule | None = None) -> Expectations:
        """Plan a workload, run its jobs, all rounds of them, and unpack their results."""
        made = self.plan(workload, rule)
        made.options.mitigation.check_learned()
        device = local_device(self.backend)
        results: dict[int, dict[str, np.ndarray]] = {}
        while len(results) < len(made.jobs):
            for idx in range(len(results), len(made.jobs)):
                results[idx] = device.fetch(f"local:{idx}", job_request(made, idx))
            if made.rounds:
                made = next_round(made, results) or made
        found = unpack(made, results)
        qubits = sorted({qubit for tile in made.tiles for qubit in tile.final_layout if qubit >= 0})
        confusions = readout_confusions(fake_backend(self.backend), qubits)
        return replace(found, notes=(*found.notes, *readout_remarks(confusions)))
