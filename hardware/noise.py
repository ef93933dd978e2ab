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
from typing import TYPE_CHECKING, Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.providers import BackendV2
from qiskit.transpiler import Target

from hardware.errors import InvalidInputError, NoiseNotAppliedError

if TYPE_CHECKING:
    from hardware.channels import InstructionErrors

#: Gates of the rate model. RZ is a change of frame and error-free, as on every superconducting
#: device; everything else is written with RZ, SX, X and CX before errors are attached.
FREE_GATES = ("rz",)
ONE_QUBIT_GATES = ("sx", "x", "rx", "ry")
TWO_QUBIT_GATES = ("cx", "cz")
RATE_BASIS = FREE_GATES + ONE_QUBIT_GATES + TWO_QUBIT_GATES

LEFT_OUT = "Left out: crosstalk, leakage, drift since the calibration, and coherent errors."
NOT_SCHEDULED = "Left out: decay of idle qubits, since the circuit is not scheduled."


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

    @property
    def num_errors(self) -> int:
        """Gate instances and measured qubits with an error."""
        return self.noisy_readouts + sum(gate.noisy for gate in self.gates)

    def sentences(self) -> tuple[str, ...]:
        """Return the report as sentences, for `Expectations.notes`."""
        gates = ", ".join(f"{g.noisy} of {g.total} {g.instruction}" for g in self.gates)
        acted = (
            f"Noise from {self.source}: errors attached to {gates or 'no gate (there is none)'}; "
            f"read-out errors on {self.noisy_readouts} of {self.measured} measured qubits."
        )
        return (acted, *self.left_out)


@dataclass(frozen=True, eq=False)
class CircuitNoise:
    """The errors of one circuit, by instruction and qubits.

    Args:
        source: Where the noise comes from, for reports.
        asked: Whether any rate is positive; a model of zeros is an explicitly noiseless run.
        gate_errors: Aer `QuantumError` that follows instruction `name` on `qubits`.
        readout: Matrix (2, 2) of [prepared, observed] probabilities by qubit.
        left_out: Sentences on what the model does not contain.
    """

    source: str
    asked: bool
    gate_errors: Mapping[tuple[str, tuple[int, ...]], Any]
    readout: Mapping[int, np.ndarray]
    left_out: tuple[str, ...] = ()

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
            noisy[name] += (name, qubits) in self.gate_errors
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
        from qiskit.quantum_info import PTM, SuperOp

        from hardware.channels import InstructionErrors, transfer_matrix

        seen: dict[int, np.ndarray] = {}
        gates = {}
        for key, error in self.gate_errors.items():
            if id(error) not in seen:
                seen[id(error)] = transfer_matrix(PTM(SuperOp(error)))
            gates[key] = seen[id(error)]
        return InstructionErrors(gates, self.readout)

    def aer_model(self) -> Any:
        """Return the same errors as an Aer `NoiseModel`."""
        from qiskit_aer.noise import NoiseModel

        model = NoiseModel(basis_gates=sorted({name for name, _ in self.gate_errors} | {"rz"}))
        for (name, qubits), error in self.gate_errors.items():
            model.add_quantum_error(error, name, qubits)
        for qubit, confusion in self.readout.items():
            model.add_readout_error(confusion.tolist(), [qubit])
        return model


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
        InvalidInputError: A rate outside [0, 1], or a gate outside the basis, which would
            silently be ideal.
    """
    from qiskit_aer.noise import depolarizing_error

    p1, p2 = check_probability(p1, "one-qubit rate"), check_probability(p2, "two-qubit rate")
    readout = check_probability(readout, "read-out rate")
    one, two = depolarizing_error(p1, 1), depolarizing_error(p2, 2)
    errors = {}
    for instruction in circuit.data:
        name = instruction.operation.name
        qubits = tuple(circuit.find_bit(q).index for q in instruction.qubits)
        if name in ONE_QUBIT_GATES and p1 > 0:
            errors[name, qubits] = one
        elif name in TWO_QUBIT_GATES and p2 > 0:
            errors[name, qubits] = two
        elif name not in (*RATE_BASIS, "barrier"):
            raise InvalidInputError(
                f"Expected gates {', '.join(RATE_BASIS)}, got {name!r}: decompose the circuit "
                "first, or the gate would be error-free."
            )
    flip = np.array([[1 - readout, readout], [readout, 1 - readout]])
    return CircuitNoise(
        source=f"depolarising rates p1={p1:g}, p2={p2:g}, read-out {readout:g}",
        asked=max(p1, p2, readout) > 0,
        gate_errors=errors,
        readout=dict.fromkeys(range(circuit.num_qubits), flip) if readout > 0 else {},
    )


def calibrated_noise(
    backend: BackendV2, circuit: QuantumCircuit, physical_qubits: Sequence[int]
) -> CircuitNoise:
    """Return the noise of a backend's calibration, only for what a circuit uses.

    Gate errors are Aer's: depolarising and thermal relaxation that together give the calibrated
    infidelity. Read-out errors keep their asymmetry where the calibration has it.

    Args:
        backend: Backend with a calibrated target.
        circuit: Circuit of the backend's gates on qubits 0 … n-1.
        physical_qubits: The physical qubit behind each of the circuit's n qubits.
    """
    from qiskit_aer.noise.device import basic_device_gate_errors

    reduced = reduced_target(backend.target, circuit, physical_qubits)
    errors = {
        (name, tuple(qubits)): error
        for name, qubits, error in basic_device_gate_errors(target=reduced)
    }
    confusions = readout_confusions(backend, physical_qubits)
    return CircuitNoise(
        source=f"the calibration of {backend.name}",
        asked=True,
        gate_errors=errors,
        readout={q: matrix for q, matrix in enumerate(confusions) if matrix is not None},
        left_out=(LEFT_OUT, NOT_SCHEDULED),
    )


def reduced_target(
    target: Target, circuit: QuantumCircuit, physical_qubits: Sequence[int]
) -> Target:
    """Return a target of the circuit's instructions alone, on its own qubit numbers."""
    properties = target.qubit_properties
    reduced = Target(
        num_qubits=len(physical_qubits),
        dt=target.dt,
        qubit_properties=properties and [properties[q] for q in physical_qubits],
    )
    used: dict[str, dict[tuple[int, ...], Any]] = {}
    for instruction in circuit.data:
        name = instruction.operation.name
        if name == "barrier":
            continue
        qubits = tuple(circuit.find_bit(q).index for q in instruction.qubits)
        physical = tuple(physical_qubits[q] for q in qubits)
        used.setdefault(name, {})[qubits] = target[name][physical]
    for name, instances in used.items():
        reduced.add_instruction(target.operation_from_name(name), instances, name=name)
    return reduced


def readout_confusions(
    backend: BackendV2, physical_qubits: Sequence[int]
) -> list[np.ndarray | None]:
    """Return [prepared, observed] read-out probabilities (2, 2) of each qubit, None if unknown."""
    calibration = backend.properties() if hasattr(backend, "properties") else None
    measure = backend.target.get("measure", {})
    matrices: list[np.ndarray | None] = []
    for qubit in physical_qubits:
        flips = _asymmetric_flips(calibration, qubit)
        if flips is None:
            properties = measure.get((qubit,)) if measure else None
            error = properties.error if properties is not None else None
            flips = None if error is None else (error, error)
        if flips is None or max(flips) == 0.0:
            matrices.append(None)
        else:
            up, down = flips  # 1 seen where 0 was prepared, 0 seen where 1 was
            matrices.append(np.array([[1 - up, up], [down, 1 - down]]))
    return matrices


def _asymmetric_flips(calibration: Any, qubit: int) -> tuple[float, float] | None:
    if calibration is None:
        return None
    values = calibration.qubit_property(qubit)
    if "prob_meas1_prep0" in values and "prob_meas0_prep1" in values:
        return float(values["prob_meas1_prep0"][0]), float(values["prob_meas0_prep1"][0])
    return None
