"""One parametrised circuit, many parameter sets, some observables: the unit of work.

A `Workload` is what every target runs and `Expectations` is what every target returns. Parameters
are bound by name: the order of the columns of `values` is the order of `parameters`, a list that
the workload carries, and never Qiskit's name-sorted ``circuit.parameters``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from qiskit.circuit import Barrier, Gate, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from hardware.circuits.adaptive import Decisions
from hardware.circuits.hashing import array_bytes, circuit_bytes, digest, observable_bytes
from hardware.errors import InvalidWorkloadError


@dataclass(frozen=True, eq=False)
class Workload:
    """One circuit to be run with N parameter sets and M observables.

    Args:
        circuit: Unitary circuit with P free parameters and no classical bits.
        parameters: The P parameter names, in the order of the columns of `values`.
        values: Parameter values, shape (N, P), float64, radians.
        observables: M observables on ``circuit.num_qubits`` qubits.

    Raises:
        InvalidWorkloadError: The parts do not fit together or a value is not finite.
    """

    circuit: QuantumCircuit
    parameters: tuple[str, ...]  # P names
    values: np.ndarray  # (N, P), radians
    observables: tuple[SparsePauliOp, ...]  # M

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", tuple(self.parameters))
        object.__setattr__(self, "observables", tuple(self.observables))
        values = np.array(self.values, dtype=np.float64)  # a private copy
        values.flags.writeable = False
        object.__setattr__(self, "values", values)
        self._check()

    def _check(self) -> None:
        if self.circuit.num_clbits:
            raise InvalidWorkloadError(
                f"Expected a circuit without classical bits, got {self.circuit.num_clbits}: "
                "remove the measurements; every target adds its own."
            )
        own = {parameter.name for parameter in self.circuit.parameters}
        if len(self.parameters) != len(set(self.parameters)) or own != set(self.parameters):
            missing, extra = sorted(own - set(self.parameters)), sorted(set(self.parameters) - own)
            raise InvalidWorkloadError(
                f"Expected each of the circuit's {len(own)} parameters once, got "
                f"{len(self.parameters)} names (missing: {missing[:3]}, unknown: {extra[:3]})."
            )
        if self.values.ndim != 2 or self.values.shape[1] != len(self.parameters):
            raise InvalidWorkloadError(
                f"Expected values of shape (N, {len(self.parameters)}), one column per parameter, "
                f"got {self.values.shape}."
            )
        if self.values.shape[0] == 0:
            raise InvalidWorkloadError(
                "The workload has no parameter sets. Give at least one row of values."
            )
        if not np.isfinite(self.values).all():
            row = int(np.argwhere(~np.isfinite(self.values))[0][0])
            raise InvalidWorkloadError(
                f"Expected finite parameter values, got NaN or infinity in row {row}."
            )
        for instruction in self.circuit.data:
            if not isinstance(instruction.operation, Gate | Barrier):
                raise InvalidWorkloadError(
                    f"Expected a circuit of gates, got {instruction.operation.name!r}: a workload "
                    "is unitary; every target adds its own measurements."
                )
        if not self.observables:
            raise InvalidWorkloadError("The workload has no observables. Give at least one.")
        for index, observable in enumerate(self.observables):
            if observable.num_qubits != self.circuit.num_qubits:
                raise InvalidWorkloadError(
                    f"Expected observables on {self.circuit.num_qubits} qubits, got "
                    f"{observable.num_qubits} for observable {index}."
                )
            if not np.isrealobj(observable.coeffs) and np.abs(observable.coeffs.imag).max() > 0:
                raise InvalidWorkloadError(
                    f"Expected observables with real coefficients, got {observable.coeffs} for "
                    f"observable {index}: a measured quantity is Hermitian."
                )

    @property
    def num_samples(self) -> int:
        """N, the number of parameter sets."""
        return int(self.values.shape[0])

    @property
    def num_observables(self) -> int:
        """M, the number of observables."""
        return len(self.observables)

    def named_values(self) -> dict[str, np.ndarray]:
        """Return the values by parameter name, each of shape (N,)."""
        return {name: self.values[:, i] for i, name in enumerate(self.parameters)}

    def ordered_values(self, circuit: QuantumCircuit | None = None) -> np.ndarray:
        """Return the values in the order of ``circuit.parameters``, shape (N, P).

        `circuit` is this workload's own by default; a transpiled one has the same names.
        """
        column = {name: i for i, name in enumerate(self.parameters)}
        order = [column[p.name] for p in (circuit or self.circuit).parameters]
        return self.values[:, order]

    def rows(self, selection: Sequence[int] | np.ndarray | slice) -> Workload:
        """Return the same workload with a part of its parameter sets."""
        return Workload(self.circuit, self.parameters, self.values[selection], self.observables)

    def content_hash(self, options: str = "", calibration_id: str = "") -> str:
        """Return the SHA-256 of everything that decides a run's outcome, as hexadecimal text.

        Two workloads that differ in any value, gate, observable, option or calibration have
        different hashes; the same one built twice, in any process, has one.

        Args:
            options: Canonical text of the options of the run, e.g. `canonical_json`.
            calibration_id: Identifier of the backend's calibration.
        """
        return digest(
            circuit_bytes(self.circuit),
            "\n".join(self.parameters).encode(),
            array_bytes(self.values),
            observable_bytes(self.observables),
            options.encode(),
            calibration_id.encode(),
        )


@dataclass(frozen=True, eq=False)
class Expectations:
    """Expectation values of a workload, in its order.

    Args:
        values: Expectation values, shape (N, M): plain means of the shots, within the observables'
            spectral range unless read-out errors were inverted, noise was cancelled (PEC) or the
            values were extrapolated to zero noise (ZNE), which may all leave it; NaN in rows
            without a result yet, and where the platform's estimator gave no finite value.
        std_errors: Half the width of a 95 % interval around `values` over 1.96, shape (N, M),
            which holds near the ends of the range too (`hardware.circuits.intervals`); zero where
            exact, NaN where no interval is known that holds, e.g. of an exponential extrapolation.
        target: Specification of the target that made them, e.g. ``"shots:1024"``.
        shots: Shots per parameter set, None where exact; with adaptive shots at most.
        notes: Sentences on what acted and what the emulation leaves out.
        decisions: Which labels adaptive shots decided; None without them.
    """

    values: np.ndarray  # (N, M)
    std_errors: np.ndarray  # (N, M)
    target: str
    shots: int | None = None
    notes: tuple[str, ...] = ()
    decisions: Decisions | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape != self.std_errors.shape:
            raise ValueError(
                "Expected values and std_errors of one shape (N, M), got "
                f"{self.values.shape} and {self.std_errors.shape}."
            )

    @property
    def missing(self) -> tuple[int, ...]:
        """Rows with a value that is not known, e.g. because their job failed."""
        return tuple(np.nonzero(np.isnan(self.values).any(axis=1))[0].tolist())
