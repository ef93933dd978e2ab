"""What the local targets share.

Each target is a frozen dataclass that says how a circuit is prepared (which gates, which qubits,
which errors); drawing the shots and turning them into expectation values is the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2

from hardware.checks import check_shots
from hardware.circuits.adaptive import AdaptiveShots, Decisions, LinearRule, Pool
from hardware.circuits.measurement import Measurement, Setting
from hardware.emulation.noise import NoiseReport
from hardware.emulation.primitives import EmulatedEstimator, EmulatedSampler
from hardware.emulation.sampling import (
    Method,
    OutcomeTables,
    PreparedCircuit,
    SettingsEngine,
    ShotStreams,
)
from hardware.errors import InvalidInputError
from hardware.workload import Expectations, Workload

DEFAULT_SHOTS = 4096


@dataclass(frozen=True)
class EmulatedTarget(ABC):
    """What the local targets share.

    Args:
        shots: Shots of every parameter set and measurement setting.
        seed: Seed of the shots. The same seed gives the same `run`; None a fresh one every time.
        method: How noise is simulated.
        first_row: Number of a workload's first row among all rows that share the seed.
    """

    shots: int = field(default=DEFAULT_SHOTS, kw_only=True)
    seed: int | None = field(default=None, kw_only=True)
    method: Method = field(default=Method.AUTO, kw_only=True)
    first_row: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        check_shots(self.shots)
        if self.seed is not None and self.seed < 0:
            raise InvalidInputError(f"Expected a seed of zero or more, got {self.seed}.")

    @property
    @abstractmethod
    def spec(self) -> str:
        """The canonical specification; `parse_target` turns it back into this target."""

    def from_row(self, first_row: int) -> Self:
        """Return this target for rows that follow others: they get the shots of later rows."""
        return replace(self, first_row=first_row)

    @abstractmethod
    def prepare(self, circuit: QuantumCircuit, measured: Sequence[int]) -> PreparedCircuit:
        """Return a circuit as this target runs it, with its noise.

        Args:
            circuit: Unitary circuit.
            measured: The circuit's qubit behind each outcome bit.
        """

    def prepare_settings(
        self, circuit: QuantumCircuit, settings: Sequence[Setting]
    ) -> list[PreparedCircuit]:
        """Return a circuit as this target runs it in each measurement setting."""
        return [
            self.prepare(setting.append_basis_change(circuit), setting.qubits)
            for setting in settings
        ]

    def estimator(self) -> BaseEstimatorV2:
        """Return a V2 estimator over this target, for `EstimatorQNN`."""
        return EmulatedEstimator(self.prepare_settings, self.shots, self.seed, self.method)

    def sampler(self) -> BaseSamplerV2:
        """Return a V2 sampler over this target, for `SamplerQNN`."""
        return EmulatedSampler(self.prepare, self.shots, self.seed, self.method)

    def run(self, workload: Workload) -> Expectations:
        """Run all parameter sets of a workload.

        Diagonal observables share one set of counts; others are measured in qubit-wise commuting
        settings, each with `shots` shots. Standard errors come from the shots themselves.

        Raises:
            NoiseNotAppliedError: Noise was asked for, but touches nothing.
            EmulationError: The simulation could not be run.
        """
        engine = self._engine(workload)
        streams = ShotStreams.of(self.seed, self.first_row)
        values, errors = engine.estimate(workload.values, self.shots, streams)
        return Expectations(values, errors, self.spec, self.shots, engine.notes())

    def run_adaptive(
        self, workload: Workload, rule: LinearRule, adaptive: AdaptiveShots | None = None
    ) -> Expectations:
        """Run the rows of a workload in rounds, each only those whose label is undecided.

        Args:
            workload: N rows.
            rule: Which label the values of a row stand for.
            adaptive: The rounds; this target's shots are the most that a row may take.

        Returns:
            The rows, with `Expectations.decisions`.

        Raises:
            InvalidInputError: The rounds do not add up to the shots, or the rule is for another
                number of observables.
            NoiseNotAppliedError, EmulationError: As `run`.
        """
        adaptive = adaptive or AdaptiveShots()
        rounds = adaptive.rounds_of(self.shots)
        rule.check_width(workload.num_observables)
        measurement = Measurement.of(workload.observables)
        of_leads = measurement.combined(*rule.leads())
        engine = self._engine(workload)
        pool, leads = (
            Pool(workload.num_samples, len(each.constants)) for each in (measurement, of_leads)
        )
        streams = ShotStreams.of(self.seed, self.first_row)
        rows = np.arange(workload.num_samples)
        found = Decisions.of(rule, leads, adaptive, rounds)
        for number, shots in enumerate(rounds):
            own, z = streams.child(number), adaptive.z(shots, len(rounds), rule.num_classes)
            for part, counts in engine.counts(workload.values[rows], shots, own):
                size = part.stop - part.start
                pool.add(rows[part], *measurement.combine(counts, size), shots)
                lead, errors = of_leads.combine(counts, size, z=z)
                leads.add(rows[part], lead, z * errors, shots)
            found = Decisions.of(rule, leads, adaptive, rounds)
            rows = np.flatnonzero(~found.decided)
            if not rows.size:
                break
        notes = (*engine.notes(), *found.notes())
        return Expectations(*pool.result(), self.spec, self.shots, notes, found)

    def outcomes(self, workload: Workload) -> OutcomeTables:
        """Return the exact outcome probabilities of all parameter sets, to draw from repeatedly.

        Raises:
            UnsupportedCircuitError: The noisy state is too wide to be computed.
            NoiseNotAppliedError, EmulationError: As `run`.
        """
        return self._engine(workload).outcomes(workload.values)

    def _engine(self, workload: Workload) -> SettingsEngine:
        measurement = Measurement.of(workload.observables)
        prepared = self.prepare_settings(workload.circuit, measurement.settings)
        return SettingsEngine(prepared, workload.parameters, measurement, self.method)

    def noise_report(self, workload: Workload) -> NoiseReport | None:
        """Return what the noise touches in a workload's circuit; None for a noiseless target.

        With several measurement settings it is that of the first.
        """
        settings = Measurement.of(workload.observables).settings
        prepared = self.prepare_settings(workload.circuit, settings)
        return prepared[0].report if prepared else None
