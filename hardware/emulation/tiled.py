"""A fake device that simulates tiled circuits exactly, part by part.

A circuit on 150 qubits of a chip is far too wide to simulate, but the tiles of a plan share no
gate: each connected part is simulated on its own, under the reduced noise of its own qubits, and
the outcomes are put together. The simulator presents itself to the IBM client as an Aer backend, so
that jobs go through the client's real primitives. Crosstalk between tiles is not modelled.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.providers import BackendV2
from qiskit.result import Result
from qiskit.result.models import ExperimentResult, ExperimentResultData
from qiskit_aer import AerSimulator

from hardware.circuits.transforms import restrict_to_active, split_measurements
from hardware.devices.scheduling import scheduled
from hardware.emulation.noise import calibrated_noise
from hardware.emulation.sampling import Method, PreparedCircuit, Sampler, ShotStreams, shot_by_shot
from hardware.errors import UnsupportedCircuitError

#: Shots of a run that does not say; as the client's.
DEFAULT_SHOTS = 4096


@dataclass(frozen=True, eq=False)
class Component:
    """A connected part of a circuit.

    Args:
        prepared: Its gates, qubits and noise.
        clbits: Classical bit of each outcome bit.
    """

    prepared: PreparedCircuit
    clbits: tuple[int, ...]


def components(circuit: QuantumCircuit, backend: BackendV2) -> list[Component]:
    """Schedule a circuit that ends in measurements; return its connected parts with their noise.

    Parts that are not measured are left out.

    Raises:
        InvalidInputError: An instruction that the backend does not have, or one whose calibration
            is unknown or says that it does not work.
        UnsupportedCircuitError: A measurement before the end, a reset or control flow.
    """
    # Barriers, which keep all parts in step, count for the schedule and are gone after it.
    timed = scheduled(circuit, (), backend.target, range(circuit.num_qubits))
    unitary, measured = split_measurements(timed)
    group = _groups(unitary)
    parts: dict[int, list[int]] = {}
    for clbit, qubit in sorted(measured.items()):
        parts.setdefault(group[qubit], []).append(clbit)
    found = []
    for root, clbits in parts.items():
        part = QuantumCircuit(unitary.num_qubits)
        for step in unitary.data:
            qubits = [unitary.find_bit(q).index for q in step.qubits]
            if group[qubits[0]] == root:
                part.append(step.operation, qubits, copy=False)
        ends = [measured[clbit] for clbit in clbits]
        if len(set(ends)) != len(ends):
            raise UnsupportedCircuitError("Expected each qubit to be measured once.")
        reduced, physical = restrict_to_active(part, ends)
        bits = tuple(physical.index(qubit) for qubit in ends)
        noise = calibrated_noise(backend, reduced, physical, bits)
        report = noise.attach(reduced, bits)
        prepared = PreparedCircuit(reduced, bits, noise, report, physical)
        found.append(Component(prepared, tuple(clbits)))
    return found


def _groups(circuit: QuantumCircuit) -> list[int]:
    """Return, for every qubit, the smallest qubit that gates connect it to."""
    root = list(range(circuit.num_qubits))

    def find(qubit: int) -> int:
        while root[qubit] != qubit:
            root[qubit] = root[root[qubit]]
            qubit = root[qubit]
        return qubit

    for step in circuit.data:
        first, *rest = (find(circuit.find_bit(q).index) for q in step.qubits)
        for other in rest:
            low, high = sorted((find(first), find(other)))
            root[high] = low
    return [find(qubit) for qubit in range(circuit.num_qubits)]


class ComponentSimulator(AerSimulator):
    """An Aer backend of a device that simulates circuits component by component.

    Make one with `of`. It offers what the client's local mode uses: `run` with bound parameters
    and per-shot memory. The client copies its backend for each job and then runs the job's PUBs
    one after the other, all with one seed: the n-th run of a copy has streams of its own, or equal
    PUBs would have equal shots.
    """

    _device: BackendV2
    _method: Method
    _runs: int

    @classmethod
    def of(cls, device: BackendV2, method: Method = Method.AUTO) -> ComponentSimulator:
        """Return the simulator of a device with a calibration."""
        simulator = cls.from_backend(device, noise_model=None)  # the whole model takes seconds
        simulator._device, simulator._method, simulator._runs = device, method, 0
        simulator.name = str(device.name)
        return simulator

    def __deepcopy__(self, memo: dict[int, Any]) -> ComponentSimulator:
        return type(self).of(self._device, self._method)

    def run(
        self,
        circuits: QuantumCircuit | Sequence[QuantumCircuit],
        parameter_binds: Sequence[Mapping[Any, Any]] | None = None,
        **run_options: Any,
    ) -> _FinishedJob:
        """Run circuits with every set of bound parameters; returns a finished job.

        Args:
            circuits: Circuits that end in measurements.
            parameter_binds: For each circuit, values (N,) by parameter.
            run_options: `shots` and `seed_simulator` count, others are accepted.
        """
        if isinstance(circuits, QuantumCircuit):
            circuits = [circuits]
        shots = int(run_options.get("shots") or DEFAULT_SHOTS)
        streams = ShotStreams.of(run_options.get("seed_simulator")).child(self._runs)
        self._runs += 1
        binds = parameter_binds or [{}] * len(circuits)
        entries = []
        for index, (circuit, bind) in enumerate(zip(circuits, binds, strict=True)):
            table = self._outcomes(circuit, bind, shots, streams.child(index))
            entries += [_experiment(circuit, bits) for bits in table]
        return _FinishedJob(entries)

    def _outcomes(
        self, circuit: QuantumCircuit, bind: Mapping[Any, Any], shots: int, streams: ShotStreams
    ) -> np.ndarray:
        """Return the classical bits of every shot, shape (N, shots, clbits)."""
        names = [parameter.name for parameter in bind]
        columns = [np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in bind.values()]
        values = np.stack(columns, axis=1) if columns else np.zeros((1, 0))
        table = np.zeros((len(values), shots, circuit.num_clbits), dtype=np.uint8)
        for index, component in enumerate(components(circuit, self._device)):
            own = {p.name for p in component.prepared.circuit.parameters}
            chosen = [i for i, name in enumerate(names) if name in own]
            sampler = Sampler(component.prepared, [names[i] for i in chosen], self._method)
            mine = streams.child(index)
            counts = sampler.sample(values[:, chosen], shots, mine.child(0))
            outcomes = shot_by_shot(counts, mine.child(1))
            for bit, clbit in enumerate(component.clbits):
                table[:, :, clbit] = (outcomes >> bit) & 1
        return table


class _FinishedJob:
    """What the client needs of an Aer job."""

    def __init__(self, entries: list[ExperimentResult]) -> None:
        self._entries = entries

    def result(self) -> Result:
        """Return the result of all experiments."""
        return Result(
            backend_name="components",
            job_id=uuid.uuid4().hex,
            success=True,
            results=self._entries,
            metadata={},
        )


def _experiment(circuit: QuantumCircuit, bits: np.ndarray) -> ExperimentResult:
    shots, num_clbits = bits.shape
    packed = np.packbits(bits[:, ::-1], axis=1)  # the last classical bit first
    surplus = packed.shape[1] * 8 - num_clbits
    memory = [hex(int.from_bytes(row.tobytes(), "big") >> surplus) for row in packed]
    return ExperimentResult(
        shots=shots, success=True, data=ExperimentResultData(memory=memory), status="DONE"
    )
