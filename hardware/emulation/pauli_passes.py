"""Which two-qubit gates share one pass over the vector of Pauli components.

A vector of ten qubits and sixteen lanes is larger than any cache, so reading it once a gate costs
more than the arithmetic. A *pass* therefore takes the digits of up to `BLOCK_DIGITS` qubits through
a cache-sized block and applies every gate that acts on them alone. Gates on different qubits may
change places, so the order is chosen here: as many gates a pass as fit, a qubit joins the vector
only when all gates that are left wait for it, and leaves it after its last gate unless it is
measured. Its digit is then free for another qubit: what counts is how many qubits are entangled at
a time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from hardware.emulation import _pauli_kernel as kernel
from hardware.errors import UnsupportedCircuitError

#: Digits of a block: 4^7 components × 16 lanes × 4 bytes are 1 MiB, about a core's own cache.
BLOCK_DIGITS = 7
#: Most digits of the vector: 4^12 components × 16 lanes × 4 bytes are 1 GiB a thread.
MAX_DIGITS = 12


@dataclass(frozen=True)
class Gate:
    """A two-qubit gate and the maps of its qubits before it, by index into a program's tables."""

    kind: int  # `kernel.TABLE` or `kernel.DENSE`
    a: int
    b: int
    segment_a: int
    segment_b: int
    table: int


@dataclass(frozen=True, eq=False)
class Passes:
    """Passes as the kernel reads them.

    Args:
        ops: (O, 6) kind, local digit a, local digit b, segment a, segment b, table. An
            `kernel.EXTEND` appends a local digit after segment a.
        passes: (T, 5) first and last op, digits of the block before, digits after, digits outside.
        digits: (T, MAX_DIGITS) those digits: the block's, then those outside.
        leaving: (T, MAX_DIGITS) 1 for the block's digits that are summed out at the end.
        slots: (n,) digit of each qubit at the end, -1 where it has left or was never entangled.
        width: Digits of the vector.
        updates: Components that the passes touch, all gates together.
    """

    ops: np.ndarray
    passes: np.ndarray
    digits: np.ndarray
    leaving: np.ndarray
    slots: np.ndarray
    width: int
    updates: int


def plan_passes(gates: Sequence[Gate], num_qubits: int, measured: Collection[int]) -> Passes:
    """Return the passes of gates in their order, which commuting gates may leave.

    Raises:
        UnsupportedCircuitError: More than `MAX_DIGITS` qubits are entangled at a time.
    """
    planner = _Planner(gates, num_qubits, frozenset(measured))
    while planner.waiting():
        planner.add_pass()
    return planner.passes()


class _Planner:
    def __init__(self, gates: Sequence[Gate], num_qubits: int, measured: frozenset[int]) -> None:
        self.gates, self.measured = gates, measured
        self.queue: list[list[int]] = [[] for _ in range(num_qubits)]  # gates left, by qubit
        for index, gate in enumerate(gates):
            self.queue[gate.a].append(index)
            self.queue[gate.b].append(index)
        self.slots = np.full(num_qubits, -1, dtype=np.int64)
        self.width = self.updates = 0
        self.rows: list[tuple[int, ...]] = []
        self.digits: list[list[int]] = []
        self.leaving: list[list[int]] = []
        self.ops: list[tuple[int, ...]] = []

    def waiting(self) -> bool:
        return any(self.queue)

    def add_pass(self) -> None:
        seeds = _ready(self.queue, self.gates)
        chosen = max((self._grown(seed) for seed in seeds), key=self._worth)
        before = [int(q) for q in np.argsort(self.slots) if self.slots[q] >= 0]
        qubits = {q for g in chosen for q in (self.gates[g].a, self.gates[g].b)}
        for qubit in before:  # a larger block leaves fewer outside; it costs nothing
            if len(qubits) < BLOCK_DIGITS:
                qubits.add(qubit)
        local = [q for q in before if q in qubits]
        outside = [int(self.slots[q]) for q in before if q not in qubits]
        first, num_before = len(self.ops), len(local)
        for index in chosen:
            self._append(self.gates[index], local, len(outside))
        left = [q for q in local if not self.queue[q] and q not in self.measured]
        slots = [int(self.slots[q]) for q in local] + outside
        self.rows.append((first, len(self.ops), num_before, len(local), len(outside)))
        self.digits.append(slots + [0] * (MAX_DIGITS - len(slots)))
        flags = [int(q in left) for q in local]
        self.leaving.append(flags + [0] * (MAX_DIGITS - len(flags)))
        self.slots[left] = -1

    def _worth(self, chosen: list[int]) -> tuple[int, int]:
        qubits = {q for g in chosen for q in (self.gates[g].a, self.gates[g].b)}
        return -sum(self.slots[q] < 0 for q in qubits), len(chosen)

    def _grown(self, seed: int) -> list[int]:
        """Return the gates of the pass that starts with one, in order."""
        queue = [list(each) for each in self.queue]
        live = set(np.flatnonzero(self.slots >= 0).tolist())
        block: set[int] = set()
        chosen: list[int] = []
        candidates = [seed]
        while candidates:

            def cost(index: int) -> tuple[int, int, int]:
                own = {self.gates[index].a, self.gates[index].b}
                return len(own - live), len(own - block), index  # noqa: B023

            best = min(candidates, key=cost)
            own = {self.gates[best].a, self.gates[best].b}
            joins = len(own - live) and chosen and len(live) >= BLOCK_DIGITS
            if joins and any(not cost(i)[0] for i in _ready(queue, self.gates)):
                break
            chosen.append(best)
            block |= own
            live |= own
            for qubit in own:
                queue[qubit].remove(best)
            candidates = [
                i
                for i in _ready(queue, self.gates)
                if len(block | {self.gates[i].a, self.gates[i].b}) <= BLOCK_DIGITS
            ]
        return chosen

    def _append(self, gate: Gate, local: list[int], num_outside: int) -> None:
        segments = {gate.a: gate.segment_a, gate.b: gate.segment_b}
        for qubit in (gate.a, gate.b):
            self.queue[qubit].pop(0)
            if self.slots[qubit] < 0:
                self.slots[qubit] = self._free_slot()
                local.append(qubit)
                self.ops.append((kernel.EXTEND, 0, 0, segments[qubit], 0, 0))
                segments[qubit] = kernel.NO_SEGMENT
        a, b = local.index(gate.a), local.index(gate.b)
        self.ops.append((gate.kind, a, b, segments[gate.a], segments[gate.b], gate.table))
        self.updates += 4 ** (len(local) + num_outside)

    def _free_slot(self) -> int:
        slot = min(set(range(len(self.slots) + 1)) - set(self.slots.tolist()))
        self.width = max(self.width, slot + 1)
        if self.width > MAX_DIGITS:
            raise UnsupportedCircuitError(
                f"Expected at most {MAX_DIGITS} entangled qubits at a time, got more."
            )
        return slot

    def passes(self) -> Passes:
        def table(rows: Sequence[Sequence[int]], columns: int) -> np.ndarray:
            return np.array(rows, dtype=np.int64).reshape(-1, columns)

        return Passes(
            ops=table(self.ops, 6),
            passes=table(self.rows, 5),
            digits=table(self.digits, MAX_DIGITS),
            leaving=table(self.leaving, MAX_DIGITS),
            slots=self.slots,
            width=self.width,
            updates=self.updates,
        )


def _ready(queue: Sequence[Sequence[int]], gates: Sequence[Gate]) -> list[int]:
    """Return the gates that are next on both of their qubits."""
    heads = {each[0] for each in queue if each}
    return sorted(i for i in heads if queue[gates[i].a][0] == i and queue[gates[i].b][0] == i)
