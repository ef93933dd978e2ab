"""Noise for local emulation, and the proof that it acted.

Two sources: rates chosen by hand (`depolarizing_noise`) and a backend's calibration
(`calibrated_noise`), the latter built only for the qubits and gates that the circuit uses. Either
returns the errors instance by instance, so that `CircuitNoise.attach` can say which instruction of
the final circuit carries one, and refuse a noise that touched nothing.

A depolarising probability is Qiskit's parameter λ of ``depolarizing_error(λ, n)``: with
probability λ the state of the gate's n qubits is replaced by the maximally mixed one, so the Bloch
vector of one qubit shrinks by 1 - λ. The average gate infidelity is λ(2^n - 1)/2^n. A λ up to
4^n/(4^n - 1) is still a channel, but no longer this probability: values above 1 are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit.circuit import Barrier, Delay, QuantumCircuit
from qiskit.circuit.library import IGate
from qiskit.providers import BackendV2

from hardware.circuits.definitions import is_library
from hardware.devices.calibration import (
    DEAD_ERROR,
    LEFT_OUT,
    known_error,
    known_relaxation,
    left_out,
)
from hardware.devices.scheduling import operation_seconds
from hardware.emulation.error_channels import ErrorChannel, InstructionErrors, calibrated_channel
from hardware.errors import InvalidInputError, NoiseNotAppliedError

#: Gates of the rate model. RZ is a change of frame and error-free, as on every superconducting
#: device; everything else is written with RZ, SX, X and CX before errors are attached.
FREE_GATES = ("rz",)
ONE_QUBIT_GATES = ("sx", "x", "rx", "ry")
TWO_QUBIT_GATES = ("cx", "cz")
RATE_BASIS = FREE_GATES + ONE_QUBIT_GATES + TWO_QUBIT_GATES

ASYMMETRIC = (
    "Read-out errors differ for 0 and 1, as in the device's properties; Aer's own model of this "
    "backend has one number for both, about their mean."
)


@dataclass(frozen=True)
class AttachedErrors:
    """How many instances of one instruction carry an error."""

    instruction: str
    noisy: int
    total: int


@dataclass(frozen=True)
class NoiseReport:
    """Which noise touched what, counted on the circuit that was simulated."""

    source: str
    gates: tuple[AttachedErrors, ...]
    noisy_readouts: int
    measured: int
    left_out: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def num_errors(self) -> int:
        """Gate instances and measured qubits with an error."""
        return self.noisy_readouts + sum(gate.noisy for gate in self.gates)

    def sentences(self) -> tuple[str, ...]:
        """Return the report as sentences, for `Expectations.notes`."""
        gates = ", ".join(f"{g.noisy} of {g.total} {g.instruction}" for g in self.gates)
        acted = (
            f"Noise from {self.source}: errors attached to {gates or 'no gate'}; "
            f"read-out errors on {self.noisy_readouts} of {self.measured} measured qubits."
        )
        return (acted, *self.remarks, *self.left_out)


@dataclass(frozen=True, eq=False)
class CircuitNoise:
    """The errors of one circuit, by instruction and qubits.

    Args:
        source: Where the noise comes from, for reports.
        asked: Whether any rate is positive; a model of zeros is an explicitly noiseless run.
        gate_errors: Error that follows instruction `error_key` on its qubits.
        readout: Matrix (2, 2) of [prepared, observed] probabilities by qubit.
        left_out: Sentences on what the model does not contain.
        remarks: Sentences on what it does otherwise than a reader may expect.
    """

    source: str
    asked: bool
    gate_errors: Mapping[tuple[str, tuple[int, ...]], ErrorChannel]
    readout: Mapping[int, np.ndarray]
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def attach(self, circuit: QuantumCircuit, measured: Sequence[int]) -> NoiseReport:
        """Count the errors on the instructions of a circuit.

        Raises:
            NoiseNotAppliedError: Noise was asked for, but touches no gate and no read-out.
        """
        total: Counter[str] = Counter()
        noisy: Counter[str] = Counter()
        for instruction in circuit.data:
            name = instruction.operation.name
            qubits = tuple(circuit.find_bit(q).index for q in instruction.qubits)
            total[name] += 1
            noisy[name] += (error_key(instruction.operation), qubits) in self.gate_errors
        report = NoiseReport(
            source=self.source,
            gates=tuple(
                AttachedErrors(name, noisy[name], total[name])
                for name in sorted(total)
                if name != "barrier"
            ),
            noisy_readouts=sum(qubit in self.readout for qubit in measured),
            measured=len(measured),
            left_out=self.left_out,
            remarks=self.remarks,
        )
        if self.asked and not report.num_errors:
            raise NoiseNotAppliedError(
                f"Expected noise from {self.source} to act, but it touches none of the circuit's "
                f"{sum(total.values())} instructions ({dict(total)}) and no read-out. Ask for a "
                "rate that this circuit's gates can suffer, or for a run without noise."
            )
        return report

    def transfer_matrices(self) -> InstructionErrors:
        """Return the errors as Pauli transfer matrices."""
        gates = {key: channel.transfer_matrix() for key, channel in self.gate_errors.items()}
        return InstructionErrors(gates, self.readout)

    def aer_model(self) -> Any:
        """Return the same errors as an Aer `NoiseModel`, for circuits from `without_delays`."""
        from qiskit_aer.noise import NoiseModel

        names = {name for name, _ in self.gate_errors if not name.startswith("delay ")}
        model = NoiseModel(basis_gates=sorted(names | {"rz", "id"}))
        for (name, qubits), channel in self.gate_errors.items():
            model.add_quantum_error(channel.aer_error(), name, qubits)
        for qubit, confusion in self.readout.items():
            model.add_readout_error(confusion.tolist(), [qubit])
        return model


def error_key(operation: Any) -> str:
    """Return the name under which errors of an operation are kept; of a delay, with its length."""
    if operation.name == "delay":
        return f"delay {operation.duration} {operation.unit}"
    return str(operation.name)


def without_delays(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return a circuit with an identity under the delay's `error_key` for each of its delays.

    Aer finds errors by name or label, and has none for delays.
    """
    result = circuit.copy_empty_like()
    for step in circuit.data:
        operation = step.operation
        if isinstance(operation, Delay):
            operation = IGate(label=error_key(operation))
        result.append(operation, step.qubits, step.clbits, copy=False)
    return result


def check_probability(value: float, name: str) -> float:
    """Return `value` if it is a probability.

    Raises:
        InvalidInputError: It is not in [0, 1].
    """
    if not 0.0 <= value <= 1.0:  # also refuses NaN
        raise InvalidInputError(f"Expected {name} in [0, 1], got {value}.")
    return float(value)


def depolarizing_noise(
    circuit: QuantumCircuit, p1: float, p2: float, readout: float = 0.0
) -> CircuitNoise:
    """Return depolarising noise by rate for a circuit in `RATE_BASIS`.

    Args:
        circuit: Circuit of gates from `RATE_BASIS`.
        p1: λ after each one-qubit gate except RZ.
        p2: λ after each two-qubit gate, on both qubits together.
        readout: Probability that a measured bit is flipped, the same for 0 and 1.

    Raises:
        InvalidInputError: A rate outside [0, 1], or a gate outside the basis, by name or by class,
            which would silently be ideal.
    """
    p1, p2 = check_probability(p1, "one-qubit rate"), check_probability(p2, "two-qubit rate")
    readout = check_probability(readout, "read-out rate")
    one, two = ErrorChannel(1, p1), ErrorChannel(2, p2)
    errors = {}
    for instruction in circuit.data:
        name = instruction.operation.name
        qubits = tuple(circuit.find_bit(q).index for q in instruction.qubits)
        if name not in (*RATE_BASIS, "barrier") or not is_library(instruction.operation):
            raise InvalidInputError(
                f"Expected gates {', '.join(RATE_BASIS)}, got {name!r}: decompose the circuit "
                "first, or the gate would be error-free."
            )
        if name in ONE_QUBIT_GATES and p1 > 0:
            errors[name, qubits] = one
        elif name in TWO_QUBIT_GATES and p2 > 0:
            errors[name, qubits] = two
    flip = np.array([[1 - readout, readout], [readout, 1 - readout]])
    return CircuitNoise(
        source=f"depolarising rates p1={p1:g}, p2={p2:g}, read-out {readout:g}",
        asked=max(p1, p2, readout) > 0,
        gate_errors=errors,
        readout=dict.fromkeys(range(circuit.num_qubits), flip) if readout > 0 else {},
    )


def calibrated_noise(
    backend: BackendV2,
    circuit: QuantumCircuit,
    physical_qubits: Sequence[int],
    measured: Sequence[int],
) -> CircuitNoise:
    """Return the noise of a backend's calibration, only for what a circuit uses.

    Gate errors are depolarising and thermal relaxation that together give the calibrated
    infidelity, as Aer's. Delays relax. Read-out errors keep their asymmetry where the calibration
    has it.

    Args:
        backend: Backend with a calibrated target.
        circuit: Circuit of the backend's gates and delays on qubits 0 … n-1.
        physical_qubits: The physical qubit behind each of the circuit's n qubits.
        measured: The circuit's qubits that are read out.

    Raises:
        InvalidInputError: A gate that the backend does not have, or an instruction or a qubit
            whose calibration is unknown, or says that it does not work.
    """
    target = backend.target
    errors = {}
    for instruction in circuit.data:
        operation = instruction.operation
        if isinstance(operation, Barrier):
            continue
        known = isinstance(operation, Delay) or operation.name in target.operation_names
        if not known or not is_library(operation):
            raise InvalidInputError(
                f"Expected gates of {backend.name}, got {operation.name!r}: transpile the circuit "
                "for it first."
            )
        qubits = tuple(circuit.find_bit(q).index for q in instruction.qubits)
        physical = tuple(physical_qubits[q] for q in qubits)
        error = 0.0 if isinstance(operation, Delay) else _error(backend, operation.name, physical)
        times = [known_relaxation(target, qubit) for qubit in physical]
        if None in times:
            raise InvalidInputError(
                f"The calibration of {backend.name} does not know T1 and T2 of qubit "
                f"{physical[times.index(None)]}: use other qubits."
            )
        duration = operation_seconds(operation, target, physical)
        channel = calibrated_channel(error, duration, [pair for pair in times if pair is not None])
        if channel is not None:
            errors[error_key(operation), qubits] = channel
    confusions = readout_confusions(backend, [physical_qubits[qubit] for qubit in measured])
    return CircuitNoise(
        source=f"the calibration of {backend.name}",
        asked=True,
        gate_errors=errors,
        readout={
            q: matrix for q, matrix in zip(measured, confusions, strict=True) if matrix is not None
        },
        left_out=(LEFT_OUT,),
        remarks=(*left_out(target), *readout_remarks(confusions)),
    )


def _error(backend: BackendV2, name: str, physical: tuple[int, ...]) -> float:
    """Return the error of an instruction that works.

    Raises:
        InvalidInputError: It does not, or its error is unknown.
    """
    error = known_error(backend.target, name, physical)
    where = f"{name!r} on {'qubits' if len(physical) > 1 else 'qubit'} {_and(physical)}"
    if error is None:
        raise InvalidInputError(
            f"The calibration of {backend.name} does not know the error of {where}: use other "
            "qubits."
        )
    if error >= DEAD_ERROR:
        raise InvalidInputError(
            f"{where} of {backend.name} does not work: its error is {error:g}. Use other qubits."
        )
    return error


def _and(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))


def readout_confusions(
    backend: BackendV2, physical_qubits: Sequence[int]
) -> list[np.ndarray | None]:
    """Return [prepared, observed] read-out probabilities (2, 2) of each qubit, None if perfect.

    Raises:
        InvalidInputError: The read-out of a qubit does not work, or its error is unknown.
    """
    calibration = backend.properties() if hasattr(backend, "properties") else None
    matrices: list[np.ndarray | None] = []
    for qubit in physical_qubits:
        error = _error(backend, "measure", (qubit,))
        # 1 seen where 0 was prepared, 0 seen where 1 was
        up, down = _asymmetric_flips(calibration, qubit) or (error, error)
        perfect = max(up, down) == 0.0
        matrices.append(None if perfect else np.array([[1 - up, up], [down, 1 - down]]))
    return matrices


def readout_remarks(confusions: Sequence[np.ndarray | None]) -> tuple[str, ...]:
    """Return `ASYMMETRIC` if any of the read-out matrices (2, 2) is."""
    uneven = any(m is not None and m[0, 1] != m[1, 0] for m in confusions)
    return (ASYMMETRIC,) if uneven else ()


def _asymmetric_flips(calibration: Any, qubit: int) -> tuple[float, float] | None:
    if calibration is None:
        return None
    values = calibration.qubit_property(qubit)
    flips = [values.get(name, (None,))[0] for name in ("prob_meas1_prep0", "prob_meas0_prep1")]
    if any(flip is None or not 0.0 <= flip <= 1.0 for flip in flips):  # also refuses NaN
        return None
    return float(flips[0]), float(flips[1])
