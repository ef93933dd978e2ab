"""One real circuit with one set of parameter values for a whole batch of initial states.

Few samples go through the gates one by one. More samples than the register has amplitudes do not:
the circuit is then one orthogonal matrix U, found by running it on the basis states, and a batch is
a product with it. The adjoint method needs no more than U's columns either, for the derivative of a
weighted sum of probabilities by U is W = Σ_b D_b U ψ_b ψ_bᵀ, with D_b the weights on the diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qhead.simulator import engine
from qhead.simulator.program import Program


@dataclass(frozen=True, eq=False)
class SharedTape:
    """A batch that was multiplied by its circuit's matrix; as `engine.Tape`, for one row."""

    probabilities: np.ndarray  # (B, C)
    _initial: np.ndarray  # (B, 2^n)
    _finals: np.ndarray  # (B, 2^n), amplitudes in the program's order
    _columns: engine.Tape  # of the basis states

    def pull_back(
        self, weights: np.ndarray, *, initial: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return (1, 1, P) and (B, 1, 2^n) or None for weights (B, 1, C), as `engine.Tape` does."""
        dtype = self._finals.dtype
        run = self._finals.shape[1] // weights.shape[2]
        weighted = self._finals * np.repeat(weights[:, 0].astype(dtype), run, axis=1)
        by_parameter = self._columns.carry_back(self._initial.T @ weighted)
        if not initial:
            return by_parameter, None
        return by_parameter, 2 * (weighted @ self._columns.states().T)[:, None, :]


def run_shared(
    program: Program, values: np.ndarray, initial: np.ndarray, dtype: type[np.floating]
) -> engine.Tape | SharedTape:
    """Run a batch of initial states (B, 2^n) with the same parameter values (P,), radians.

    The results do not depend on how it is done beyond rounding. Arguments and errors are those of
    `engine.run`; derivatives by the parameters are summed over the batch.
    """
    row = values[None]
    if not program.real or len(initial) <= 2**program.num_circuit_qubits:
        return engine.run(program, row, initial=initial, dtype=dtype)
    columns = engine.run(program, row, initial=np.eye(initial.shape[1], dtype=dtype), dtype=dtype)
    initial = initial.astype(dtype, copy=False)
    finals = initial @ columns.states()
    squares = np.square(finals).reshape(len(finals), columns.probabilities.shape[1], -1)
    return SharedTape(squares.sum(axis=2), initial, finals, columns)
