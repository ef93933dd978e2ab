"""Exact probabilities, or shots drawn from them, behind Qiskit's sampler interface."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import BaseSamplerV2, BitArray, DataBin, PrimitiveResult, SamplerPubResult
from qiskit.primitives.containers import SamplerPubLike
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit_machine_learning.gradients import BaseSamplerGradient, SamplerGradientResult

from qhead.errors import SimulationError
from qhead.simulator.estimator import check_lengths, pick_parameters, same_objects
from qhead.simulator.jobs import FinishedJob
from qhead.simulator.simulator import Simulator, same_circuit


class ProbabilityArray:
    """Stands where a sampler's `BitArray` stands, with probabilities in place of counts.

    ``SamplerQNN`` divides counts by their sum, so it reads these as they are.

    Args:
        probabilities: (..., 2^num_bits).
    """

    def __init__(self, probabilities: np.ndarray) -> None:
        self.probabilities = probabilities
        self.num_bits = int(probabilities.shape[-1]).bit_length() - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the pub's parameter sets."""
        return self.probabilities.shape[:-1]

    def get_int_counts(self, loc: int | tuple[int, ...] = ()) -> dict[int, float]:
        """Return outcome to probability at one place."""
        row = np.asarray(self.probabilities[loc])
        if row.ndim != 1:
            raise SimulationError(f"Expected a place within shape {self.shape}, got {loc!r}.")
        return dict(enumerate(row.tolist()))

    def get_counts(self, loc: int | tuple[int, ...] = ()) -> dict[str, float]:
        """Return bit string to probability at one place."""
        return {
            format(outcome, f"0{self.num_bits}b"): probability
            for outcome, probability in self.get_int_counts(loc).items()
        }


@dataclass(frozen=True)
class _Readout:
    """Where a circuit's measurements go: which measured qubit feeds each bit of each register."""

    unitary: QuantumCircuit
    qubits: tuple[int, ...]  # distinct measured qubits
    registers: dict[str, list[int | None]]  # bit of the register -> place in `qubits`


class ExactSampler(BaseSamplerV2):
    """A V2 sampler over exact probabilities.

    Args:
        simulator: Simulator to run on; a float64 one by default.
        default_shots: Shots where neither `run` nor the pub says; None returns a
            `ProbabilityArray`, without sampling, in place of each register's bits.
        seed: Seed of the shots.
    """

    def __init__(
        self,
        simulator: Simulator | None = None,
        *,
        default_shots: int | None = 1024,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self.simulator = simulator or Simulator()
        self.default_shots = default_shots
        self._seed = seed
        self._readouts: dict[int, tuple[QuantumCircuit, _Readout]] = {}

    def run(self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None) -> FinishedJob:
        """Return the finished job of some pubs; errors are raised here, not by the job."""
        rng = np.random.default_rng(self._seed)
        results = []
        for pub in pubs:
            exact = shots is None and self.default_shots is None and _own_shots(pub) is None
            coerced = SamplerPub.coerce(pub, 1 if exact else shots or self.default_shots or 1)
            results.append(self._sample(coerced, None if exact else rng))
        return FinishedJob(PrimitiveResult(results, metadata={"version": 2}))

    def readout(self, circuit: QuantumCircuit) -> _Readout:
        """Return a circuit's unitary part and where its final measurements go."""
        known = self._readouts.get(id(circuit))
        if known is None or not same_circuit(known[0], circuit):
            known = (circuit.copy(), _split(circuit))
            self._readouts = {**dict(list(self._readouts.items())[-15:]), id(circuit): known}
        return known[1]

    def _sample(self, pub: SamplerPub, rng: np.random.Generator | None) -> SamplerPubResult:
        readout = self.readout(pub.circuit)
        shape = pub.parameter_values.shape
        values = pub.parameter_values.as_array(pub.circuit.parameters)
        values = values.reshape(pub.parameter_values.size, pub.circuit.num_parameters)
        table = self.simulator.probabilities(readout.unitary, readout.qubits, values)
        table = np.clip(table, 0.0, None)
        table /= table.sum(axis=1, keepdims=True)
        data: dict[str, Any] = {}
        if rng is None:
            outcomes = np.arange(table.shape[1])
            for name, bits in readout.registers.items():
                register = _gather(outcomes, bits)
                merged = np.zeros((len(table), 2 ** len(bits)))
                np.add.at(merged.T, register, table.T)
                data[name] = ProbabilityArray(merged.reshape(*shape, -1))
        else:
            draws = rng.random((len(table), pub.shots))
            edges = np.cumsum(table, axis=1)
            edges[:, -1] = 1.0
            shots = np.stack(
                [
                    np.searchsorted(edge, draw, side="right")
                    for edge, draw in zip(edges, draws, strict=True)
                ]
            )
            for name, bits in readout.registers.items():
                data[name] = _bit_array(shots, bits, (*shape, pub.shots))
        metadata = {"shots": pub.shots if rng else None, "circuit_metadata": pub.circuit.metadata}
        return SamplerPubResult(DataBin(**data, shape=shape), metadata=metadata)


class AdjointSamplerGradient(BaseSamplerGradient):
    """Gradients of sampling probabilities by the adjoint method, whole batches at a time.

    Args:
        sampler: The sampler whose simulator, and whose last forward pass, is used.
    """

    def __init__(self, sampler: ExactSampler) -> None:
        super().__init__(sampler)
        self._exact = sampler

    def run(
        self,
        circuits: Sequence[QuantumCircuit] | QuantumCircuit,
        parameter_values: Sequence[Sequence[float]] | np.ndarray,
        parameters: Sequence[Sequence[Parameter] | None] | None = None,
        **options: Any,
    ) -> FinishedJob:
        """Return the finished job of the gradients; arguments as in the base class."""
        circuits = [circuits] if isinstance(circuits, QuantumCircuit) else circuits
        values = np.asarray(parameter_values, dtype=np.float64)
        check_lengths(circuits, values, parameters)
        return FinishedJob(self._run(circuits, values, parameters, **options))

    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        parameter_values: Any,
        parameters: Any,
        **options: Any,
    ) -> SamplerGradientResult:
        tables: list[np.ndarray] = [np.empty((0, 0))] * len(circuits)
        for rows in same_objects(circuits):
            readout = self._exact.readout(circuits[rows[0]])
            gradient = self._exact.simulator.probability_gradients(
                readout.unitary, readout.qubits, parameter_values[rows]
            )  # (B, 2^m, P)
            bits = [bit for register in readout.registers.values() for bit in register]
            keys = _gather(np.arange(gradient.shape[1]), bits)
            merged = np.zeros((len(rows), 2 ** len(bits), gradient.shape[2]))
            np.add.at(merged.transpose(1, 0, 2), keys, gradient.transpose(1, 0, 2))
            for row, table in zip(rows, merged, strict=True):
                tables[row] = table
        picked = pick_parameters(tables, circuits, parameters)
        gradients = [[dict(enumerate(column)) for column in table.T.tolist()] for table in picked]
        wanted = parameters or [None] * len(circuits)
        metadata = [{"parameters": own} for own in wanted]
        return SamplerGradientResult(gradients=gradients, metadata=metadata, options=options)


def _own_shots(pub: SamplerPubLike) -> int | None:
    if isinstance(pub, SamplerPub):
        return pub.shots
    if isinstance(pub, tuple) and len(pub) > 2:
        return pub[2]
    return None


def _split(circuit: QuantumCircuit) -> _Readout:
    """Separate final measurements from the unitary part.

    Raises:
        SimulationError: A qubit is used after it was measured, or nothing is measured.
    """
    unitary = QuantumCircuit(circuit.qubits)
    source: dict[Any, Any] = {}  # classical bit -> qubit
    done: set[Any] = set()
    for instruction in circuit.data:
        if instruction.name == "measure":
            source[instruction.clbits[0]] = instruction.qubits[0]
            done.add(instruction.qubits[0])
            continue
        if instruction.name != "barrier" and not done.isdisjoint(instruction.qubits):
            raise SimulationError(
                f"Expected measurements at the end only, got {instruction.name!r} after one: "
                "remove mid-circuit measurements."
            )
        unitary.append(instruction)
    if not source:
        raise SimulationError("The circuit has no measurements: add measure_all().")
    wire = {bit: i for i, bit in enumerate(circuit.qubits)}
    qubits = tuple(sorted({wire[qubit] for qubit in source.values()}))
    place = {qubit: i for i, qubit in enumerate(qubits)}
    registers: dict[str, list[int | None]] = {
        register.name: [place[wire[source[bit]]] if bit in source else None for bit in register]
        for register in circuit.cregs
    }
    return _Readout(unitary, qubits, registers)


def _gather(outcomes: np.ndarray, bits: Sequence[int | None]) -> np.ndarray:
    """Return a register's value for each outcome of the measured qubits."""
    value = np.zeros_like(outcomes)
    for i, place in enumerate(bits):
        if place is not None:
            value |= ((outcomes >> place) & 1) << i
    return value


def _bit_array(
    outcomes: np.ndarray, bits: Sequence[int | None], shape: tuple[int, ...]
) -> BitArray:
    """Pack a register's bits of all shots, (B, shots), as a `BitArray` of the pub's shape."""
    width = -(-len(bits) // 8)
    packed = np.zeros((*outcomes.shape, width), np.uint8)
    for i, place in enumerate(bits):
        if place is not None:
            packed[..., width - 1 - i // 8] |= (((outcomes >> place) & 1) << (i % 8)).astype(
                np.uint8
            )
    return BitArray(packed.reshape(*shape, width), len(bits))
