"""Expectation values and their derivatives, measured: more rows of the same circuit.

A device gives expectation values only. Derivatives are differences of them at shifted parameters,
and a shift is another row of values: with `ParameterShift` and `Spsa` a whole batch with all its
shifts is one `Workload`, which any target runs and a device spreads over its tiles.

    rows = ParameterShift(circuit, parameters, observables, wrt=["u[0]", "u[1]"]).rows(values)
    found, slopes = rows.combine(target.run(rows.workload).values)    # (N, M) and (N, M, 2)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from hardware.circuits.measurement import Measurement
from hardware.circuits.transforms import light_cone
from hardware.errors import InvalidInputError
from hardware.workload import Workload

Rule = tuple[tuple[float, float], ...]  # (shift in radians, coefficient) of each row

# One frequency: generators with two eigenvalues, one apart (Schuld et al., PRA 99, 032331, 2019).
_TWO_TERMS: Rule = ((math.pi / 2, 0.5), (-math.pi / 2, -0.5))
# Frequencies 1/2 and 1: eigenvalues 0 and ±1/2 (Anselmetti et al., NJP 23, 113010, 2021).
_NEAR, _FAR = (math.sqrt(2) + 1) / (4 * math.sqrt(2)), (math.sqrt(2) - 1) / (4 * math.sqrt(2))
_FOUR_TERMS: Rule = (
    (math.pi / 2, _NEAR), (-math.pi / 2, -_NEAR),
    (3 * math.pi / 2, -_FAR), (-3 * math.pi / 2, _FAR),
)  # fmt: skip
#: Shifts that give the derivative by a gate's angle.
RULES: dict[str, Rule] = {
    **dict.fromkeys(("rx", "ry", "rz", "p", "cp", "rxx", "ryy", "rzz", "rzx"), _TWO_TERMS),
    **dict.fromkeys(("crx", "cry", "crz"), _FOUR_TERMS),
}


@dataclass(frozen=True, eq=False)
class Differences:
    """Rows whose results combine into expectation values and derivatives of N samples.

    Args:
        workload: N·R rows, the R of a sample together and its unshifted one first.
        slopes: Weight of each row in the derivative by each of D parameters, (N or 1, D, R).
    """

    workload: Workload
    slopes: np.ndarray

    def combine(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return expectation values (N, M) and derivatives (N, M, D) of the rows' values (N·R, M).

        All of a sample is NaN where one of its rows is.
        """
        by_sample = values.reshape(-1, self.slopes.shape[-1], values.shape[1])  # (N, R, M)
        means = np.where(np.isnan(by_sample).any(axis=1), np.nan, by_sample[:, 0])
        return means, np.matmul(self.slopes, by_sample).swapaxes(1, 2)


class _Shifts:
    """What both methods share: the part of a circuit that matters, and where its values come from.

    Args:
        circuit: Circuit of gates with P parameters.
        parameters: Their names in the order of the columns of values.
        observables: M observables.
        wrt: Names of the D parameters to differentiate by. Those outside the light cone of the
            observables take no rows; their derivatives are zero.

    Raises:
        InvalidInputError: `wrt` names a parameter that the circuit does not have, or twice.
    """

    def __init__(
        self,
        circuit: QuantumCircuit,
        parameters: Sequence[str],
        observables: Sequence[SparsePauliOp],
        wrt: Sequence[str],
    ) -> None:
        if len(set(wrt)) < len(wrt) or not set(wrt) <= set(parameters):
            unknown = sorted(set(wrt) - set(parameters))
            raise InvalidInputError(
                f"Expected each of the parameters to differentiate by once, and among the "
                f"circuit's {len(parameters)}, got {len(wrt)} names (unknown: {unknown[:3]})."
            )
        self.observables, self.wrt = tuple(observables), tuple(wrt)
        self.circuit = light_cone(circuit, Measurement.of(self.observables).qubits)
        self._place = {name: i for i, name in enumerate(parameters)}

    def _workload(
        self, values: np.ndarray, offsets: np.ndarray, origin: dict[str, str]
    ) -> Workload:
        """Return the rows of N samples (N, P) shifted by offsets (N or 1, R, C)."""
        columns = [self._place[name] for name in origin.values()]
        rows = np.asarray(values, np.float64)[:, None, columns] + offsets  # (N, R, C)
        return Workload(
            self.circuit, tuple(origin), rows.reshape(-1, len(origin)), self.observables
        )


class ParameterShift(_Shifts):
    """Exact derivatives: every gate's angle is shifted by itself, both ways.

    A parameter of several gates (a block that is used again) is split into one for each, and its
    derivative is the sum of theirs. With one joint parameter the rule would need as many rows, and
    for equal shots its variance would be larger.

    Raises:
        InvalidInputError: A gate with such a parameter has no known rule, or its angle is an
            expression and not the parameter itself.
    """

    def __init__(
        self,
        circuit: QuantumCircuit,
        parameters: Sequence[str],
        observables: Sequence[SparsePauliOp],
        wrt: Sequence[str],
    ) -> None:
        super().__init__(circuit, parameters, observables, wrt)
        rules = self._split()
        names = [p.name for p in self.circuit.parameters]
        #: Parameter of the circuit with split ones → the caller's parameter.
        self.origin = {name: rules[name][0] if name in rules else name for name in names}
        terms = [(name, old, *term) for name, (old, rule) in rules.items() for term in rule]
        self.offsets = np.zeros((1, 1 + len(terms), len(names)))  # radians
        self.slopes = np.zeros((1, len(self.wrt), 1 + len(terms)))
        for row, (name, old, shift, coefficient) in enumerate(terms, start=1):
            self.offsets[0, row, names.index(name)] = shift
            self.slopes[0, self.wrt.index(old), row] = coefficient

    @property
    def rows_per_sample(self) -> int:
        """R: one row unshifted, and those of the shifts."""
        return int(self.slopes.shape[-1])

    def rows(self, values: np.ndarray, rng: np.random.Generator | None = None) -> Differences:
        """Return the rows of N samples with parameter values (N, P), radians."""
        return Differences(self._workload(values, self.offsets, self.origin), self.slopes)

    def _split(self) -> dict[str, tuple[str, Rule]]:
        """Give each gate with a parameter of `wrt` its own; return new name → old name and rule."""
        split = self.circuit.copy_empty_like()
        uses = Counter(
            p.name for step in self.circuit.data for a in step.operation.params
            for p in getattr(a, "parameters", ())
        )  # fmt: skip
        rules: dict[str, tuple[str, Rule]] = {}
        for step in self.circuit.data:
            gate = step.operation
            wanted = [a for a in gate.params if _names(a) & set(self.wrt)]
            if wanted:
                angle = wanted[0]
                if gate.name not in RULES or not isinstance(angle, Parameter):
                    raise InvalidInputError(
                        f"No shifts are known that give the derivative by {angle} of the gate "
                        f"{gate.name!r}: use one of {', '.join(RULES)} with the parameter itself "
                        "as its angle."
                    )
                old, number = angle.name, sum(o == angle.name for o, _ in rules.values())
                name = old if uses[old] == 1 else f"{old}#{number}"
                rules[name] = (old, RULES[gate.name])
                gate = gate.to_mutable()
                gate.params = [Parameter(name) if uses[old] > 1 else angle]
            split.append(gate, step.qubits)
        self.circuit = split
        return rules


class Spsa(_Shifts):
    """Simultaneous perturbation (Spall 1992): few rows, noisy derivatives.

    All parameters are shifted at once by ±`step`, in a random direction of signs, and back. Every
    sample has directions of its own, so that in the mean over a batch they average out. The
    derivatives are right on average up to the square of `step`.

    Args:
        circuit, parameters, observables, wrt: As for `ParameterShift`; any gates and expressions.
        step: Radians.
        directions: Random directions of each sample.
    """

    def __init__(
        self,
        circuit: QuantumCircuit,
        parameters: Sequence[str],
        observables: Sequence[SparsePauliOp],
        wrt: Sequence[str],
        *,
        step: float = 0.2,
        directions: int = 1,
    ) -> None:
        super().__init__(circuit, parameters, observables, wrt)
        if not (math.isfinite(step) and step > 0) or directions < 1:
            raise InvalidInputError(
                f"Expected a step above 0 and at least one direction, got {step} and {directions}."
            )
        self.step = float(step)
        names = [p.name for p in self.circuit.parameters]
        self.origin = {name: name for name in names}
        self._shifted = [names.index(name) for name in self.wrt if name in names]
        self._by = [self.wrt.index(names[column]) for column in self._shifted]
        self.directions = directions if self._shifted else 0

    @property
    def rows_per_sample(self) -> int:
        """R: one row unshifted, and two of each direction."""
        return 1 + 2 * self.directions

    def rows(self, values: np.ndarray, rng: np.random.Generator | None = None) -> Differences:
        """Return the rows of N samples with parameter values (N, P), radians; `rng` draws signs."""
        rng = np.random.default_rng(rng)
        size, number = len(values), len(self._shifted)
        signs = rng.choice([-1.0, 1.0], size=(size, self.directions, number))  # (N, K, D')
        both = np.stack([signs, -signs], axis=2).reshape(size, 2 * self.directions, number)
        offsets = np.zeros((size, self.rows_per_sample, len(self.origin)))
        offsets[:, 1:, self._shifted] = self.step * both
        slopes = np.zeros((size, len(self.wrt), self.rows_per_sample))
        scale = 2 * self.step * max(1, self.directions)
        slopes[:, self._by, 1:] = both.swapaxes(1, 2) / scale
        return Differences(self._workload(values, offsets, self.origin), slopes)


def _names(angle: object) -> set[str]:
    """Return the names of the parameters in a gate's angle."""
    return {p.name for p in getattr(angle, "parameters", ())}
