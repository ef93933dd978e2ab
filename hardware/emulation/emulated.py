"""Local targets: finite shots, depolarising rates, a fake backend's calibration.

Each is a frozen dataclass that says how a circuit is prepared (which gates, which qubits, which
errors); drawing the shots and turning them into expectation values is the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
from qiskit.providers import BackendV2

from hardware.circuits.measurement import Measurement, Setting
from hardware.circuits.transforms import (
    light_cone,
    restrict_to_active,
    translate,
    translate_all_but,
)
from hardware.devices.scheduling import scheduled
from hardware.emulation.noise import (
    RATE_BASIS,
    NoiseReport,
    calibrated_noise,
    check_probability,
    depolarizing_noise,
)
from hardware.emulation.sampling import Method, PreparedCircuit, Sampler, ShotStreams
from hardware.errors import InvalidInputError
from hardware.planning.options import check_shots
from hardware.workload import Expectations, Workload

DEFAULT_SHOTS = 4096

_NOISELESS = "No noise: ideal gates and read-out."


@dataclass(frozen=True)
class EmulatedTarget(ABC):
    """What the local targets share.

    Args:
        shots: Shots of every parameter set and measurement setting.
        seed: Seed of the shots. The same seed gives the same `run`; None a fresh one every time.
        method: How noise is simulated.
    """

    shots: int = field(default=DEFAULT_SHOTS, kw_only=True)
    seed: int | None = field(default=None, kw_only=True)
    method: Method = field(default=Method.AUTO, kw_only=True)

    def __post_init__(self) -> None:
        check_shots(self.shots)
        if self.seed is not None and self.seed < 0:
            raise InvalidInputError(f"Expected a seed of zero or more, got {self.seed}.")

    @property
    @abstractmethod
    def spec(self) -> str:
        """The canonical specification; `parse_target` turns it back into this target."""

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
        from hardware.emulation.primitives import EmulatedEstimator

        return EmulatedEstimator(self)

    def sampler(self) -> BaseSamplerV2:
        """Return a V2 sampler over this target, for `SamplerQNN`."""
        from hardware.emulation.primitives import EmulatedSampler

        return EmulatedSampler(self)

    def run(self, workload: Workload) -> Expectations:
        """Run all parameter sets of a workload.

        Diagonal observables share one set of counts; others are measured in qubit-wise commuting
        settings, each with `shots` shots. Standard errors come from the shots themselves.

        Raises:
            NoiseNotAppliedError: Noise was asked for, but touches nothing.
            EmulationError: The simulation could not be run.
        """
        measurement = Measurement.of(workload.observables)
        engine = SettingsEngine(self, workload.circuit, workload.parameters, measurement)
        values, errors = engine.estimate(workload.values, self.shots, ShotStreams.of(self.seed))
        return Expectations(values, errors, self.spec, self.shots, engine.notes())

    def noise_report(self, workload: Workload) -> NoiseReport | None:
        """Return what the noise touches in a workload's circuit; None for a noiseless target.

        With several measurement settings it is that of the first.
        """
        settings = Measurement.of(workload.observables).settings
        prepared = self.prepare_settings(workload.circuit, settings)
        return prepared[0].report if prepared else None


class SettingsEngine:
    """One circuit in all measurement settings of some observables, ready for many rows."""

    def __init__(
        self,
        target: EmulatedTarget,
        circuit: QuantumCircuit,
        parameters: Sequence[str],
        measurement: Measurement,
    ) -> None:
        self.measurement = measurement
        self.prepared = target.prepare_settings(circuit, measurement.settings)
        self.samplers = [Sampler(p, parameters, target.method) for p in self.prepared]

    def estimate(
        self, values: np.ndarray, shots: int, streams: ShotStreams
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return values and standard errors, each (N, M), of parameter values (N, P), radians."""
        shape = (len(values), len(self.measurement.constants))
        means, errors = np.empty(shape), np.empty(shape)
        for rows in self.measurement.chunks(len(values), shots):
            counts = [
                sampler.sample(values[rows], shots, streams.child(index), rows.start)
                for index, sampler in enumerate(self.samplers)
            ]
            means[rows], errors[rows] = self.measurement.combine(counts, rows.stop - rows.start)
        return means, errors

    def notes(self) -> tuple[str, ...]:
        """Return sentences on what acted and what is left out."""
        notes = []
        if len(self.samplers) > 1:
            notes.append(f"Measured in {len(self.samplers)} settings, each with all the shots.")
        if self.samplers:
            notes.append(self.samplers[0].description)
            physical = sorted({qubit for each in self.prepared for qubit in each.physical or ()})
            if physical:
                notes.append(f"Placed on physical qubits {', '.join(map(str, physical))}.")
            for each in self.prepared:
                told = each.report.sentences() if each.report else (_NOISELESS,)
                notes.extend(told)
        return tuple(dict.fromkeys(notes))  # settings share sentences


@dataclass(frozen=True)
class ShotsTarget(EmulatedTarget):
    """Ideal gates and read-out, finite shots: ``shots:N``."""

    @property
    def spec(self) -> str:
        return f"shots:{self.shots}"

    def prepare(self, circuit: QuantumCircuit, measured: Sequence[int]) -> PreparedCircuit:
        basis = [*RATE_BASIS, "h", "rzz", "swap", "p", "u"]
        cone, active = restrict_to_active(light_cone(circuit, measured), measured)
        bits = tuple(active.index(qubit) for qubit in measured)
        return PreparedCircuit(translate(cone, basis), bits)


@dataclass(frozen=True)
class NoisyTarget(EmulatedTarget):
    """Depolarising and read-out noise by rate: ``noisy:P1,P2[,READOUT][:N]``.

    Gates that cannot influence what is measured are dropped, which changes no result. The others
    are translated one by one to `noise.RATE_BASIS`, nothing is merged or cancelled, and every gate
    but RZ carries its error. All rates zero is an explicitly noiseless run.

    Args:
        p1: λ of Qiskit's ``depolarizing_error(λ, 1)`` after each one-qubit gate.
        p2: λ of ``depolarizing_error(λ, 2)`` after each two-qubit gate.
        readout: Probability that a measured bit is flipped.
    """

    p1: float
    p2: float
    readout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "p1", check_probability(self.p1, "P1"))
        object.__setattr__(self, "p2", check_probability(self.p2, "P2"))
        object.__setattr__(self, "readout", check_probability(self.readout, "READOUT"))

    @property
    def spec(self) -> str:
        rates = [self.p1, self.p2, self.readout] if self.readout else [self.p1, self.p2]
        return f"noisy:{','.join(_number(rate) for rate in rates)}:{self.shots}"

    def prepare(self, circuit: QuantumCircuit, measured: Sequence[int]) -> PreparedCircuit:
        translated = translate_all_but(light_cone(circuit, measured), RATE_BASIS)
        noise = depolarizing_noise(translated, self.p1, self.p2, self.readout)
        report = noise.attach(translated, measured)
        return PreparedCircuit(translated, tuple(measured), noise, report)


@dataclass(frozen=True)
class CalibratedTarget(EmulatedTarget):
    """The calibration of a backend, on the best qubits for the circuit: ``aer:NAME[:N]``.

    The circuit is transpiled with its parameters kept for every shape of region that the chip has,
    and placed where its expected error is least, as a plan of one tile is
    (`hardware.planning.tiling`): once for all measurement settings. Only those qubits are
    simulated, under their own errors, and they decay while they wait
    (`hardware.devices.scheduling`).

    Args:
        backend: Short name of a fake backend, e.g. ``"fez"``, or any `BackendV2`.
        optimization_level: Qiskit's, 0 to 3.
    """

    backend: str | BackendV2
    optimization_level: int = 3

    def __post_init__(self) -> None:
        from hardware.devices.backends import fake_name

        super().__post_init__()
        if isinstance(self.backend, str):
            object.__setattr__(self, "backend", fake_name(self.backend))
        elif not isinstance(self.backend, BackendV2):
            raise InvalidInputError(
                "Expected the name of a fake backend or a BackendV2, got "
                f"{type(self.backend).__name__}."
            )

    @property
    def spec(self) -> str:
        name = self.backend if isinstance(self.backend, str) else self.backend.name
        return f"aer:{name}:{self.shots}"

    def prepare(self, circuit: QuantumCircuit, measured: Sequence[int]) -> PreparedCircuit:
        return self._on_best_tile(circuit, [(measured, None)])[0]

    def prepare_settings(
        self, circuit: QuantumCircuit, settings: Sequence[Setting]
    ) -> list[PreparedCircuit]:
        return self._on_best_tile(circuit, [(setting.qubits, setting) for setting in settings])

    def _on_best_tile(
        self, circuit: QuantumCircuit, wanted: Sequence[tuple[Sequence[int], Setting | None]]
    ) -> list[PreparedCircuit]:
        """Place a circuit once; return it for each of some measured qubits and their bases."""
        from hardware.devices.backends import fake_backend, working_target
        from hardware.planning.options import PlanOptions
        from hardware.planning.tiled_circuit import on_tile
        from hardware.planning.tiling import place

        if not wanted:
            return []
        backend = fake_backend(self.backend) if isinstance(self.backend, str) else self.backend
        if circuit.num_qubits > backend.num_qubits:
            raise InvalidInputError(
                f"Expected at most the {backend.num_qubits} qubits of {backend.name}, got a "
                f"circuit of {circuit.num_qubits}: choose a wider backend."
            )
        device = working_target(backend)
        options = PlanOptions(tiles=1, optimization_level=self.optimization_level)
        every = [qubit for qubits, _ in wanted for qubit in qubits]
        tiling = place(circuit, sorted(set(every)), device, 1, options)
        tile, fitted = tiling.tiles[0], tiling.fitted[0]
        prepared = []
        for measured, setting in wanted:
            placed = on_tile(tile, fitted, setting, device)
            prepared.append(_timed(placed, [tile.ends[qubit] for qubit in measured], backend))
        return prepared


def _timed(placed: QuantumCircuit, ends: Sequence[int], backend: BackendV2) -> PreparedCircuit:
    """Return the part of a circuit on a device that can influence some physical qubits."""
    from hardware.devices.backends import working_target

    reduced, physical = restrict_to_active(placed, ends)
    bits = [physical.index(qubit) for qubit in ends]
    # Gates outside the light cone influence the others by the time that they take.
    timed = scheduled(reduced, bits, working_target(backend), physical)
    timed, active = restrict_to_active(light_cone(timed, bits), bits)
    physical = tuple(physical[qubit] for qubit in active)
    bits = [physical.index(qubit) for qubit in ends]
    noise = calibrated_noise(backend, timed, physical, bits)
    return PreparedCircuit(timed, tuple(bits), noise, noise.attach(timed, bits), physical)


def _number(value: float) -> str:
    return repr(value).removesuffix(".0")
