"""What a calibration says, read so that unknown is a state of its own.

A number that is missing, NaN or outside its range is unknown: neither zero nor perfect. An
instruction without a known error, or with one of a half or more, is left out of every plan and
cannot be emulated; a qubit without T₁, T₂ or a working read-out is left out with all its gates.

Some providers state no numbers of one kind for any instruction (`unstated`). What a device never
states excludes nothing, or nothing would be left; the expected errors of a plan are then unknown.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import Any, Literal

from qiskit.circuit import Gate, Measure
from qiskit.transpiler import Target

#: A calibrated error at or above this marks an instruction that does not work.
DEAD_ERROR = 0.5
#: What expected errors and emulations have in common.
LEFT_OUT = (
    "Expected errors and emulations count gates, read-out and idle time (T1 and T2). Left out: "
    "crosstalk, leakage, drift since the calibration, coherent errors, and slow dephasing, so "
    "decoupling shows the errors of its pulses and not its benefit."
)
#: Changes of frame: without a number of its own such a gate takes no time and has no error.
VIRTUAL_GATES = ("rz",)
#: One-qubit gates that no circuit here needs.
_UNUSED = ("id",)
#: Two-qubit gates that leave qubits as unentangled as they were.
_NOT_ENTANGLING = ("swap",)
#: Kinds of numbers that a calibration may hold.
Kind = Literal["gate and read-out errors", "durations", "T1 and T2"]


def unstated(target: Target) -> tuple[Kind, ...]:
    """Return the kinds of numbers that a target holds for no instruction and no qubit at all."""
    silent: list[Kind] = []
    every = [
        (name, properties)
        for name in target.operation_names
        if isinstance(target.operation_from_name(name), Gate | Measure)
        and name not in VIRTUAL_GATES
        for properties in (target[name] or {}).values()
        if properties is not None
    ]
    if not any(properties.error is not None for _, properties in every):
        silent.append("gate and read-out errors")
    if not any(properties.duration is not None for _, properties in every):
        silent.append("durations")
    about = target.qubit_properties or ()
    if not any(getattr(each, time, None) is not None for each in about for time in ("t1", "t2")):
        silent.append("T1 and T2")
    return tuple(silent)


def known_error(target: Target, name: str, qubits: Sequence[int]) -> float | None:
    """Return the calibrated error of an instruction, a probability; None where unknown."""
    properties = _properties(target, name, qubits)
    error = properties.error if properties is not None else None
    if error is None and name in VIRTUAL_GATES:
        return 0.0
    return float(error) if error is not None and 0.0 <= error <= 1.0 else None


def known_seconds(target: Target, name: str, qubits: Sequence[int]) -> float | None:
    """Return the duration of an instruction, seconds; None where unknown."""
    properties = _properties(target, name, qubits)
    duration = properties.duration if properties is not None else None
    if duration is None and name in VIRTUAL_GATES:
        return 0.0
    return float(duration) if duration is not None and 0.0 <= duration < float("inf") else None


def known_relaxation(target: Target, qubit: int) -> tuple[float, float] | None:
    """Return T₁ and T₂ of a qubit, seconds, T₂ at most 2 T₁; None where either is unknown."""
    about = target.qubit_properties[qubit] if target.qubit_properties else None
    t1, t2 = getattr(about, "t1", None), getattr(about, "t2", None)
    if t1 is None or t2 is None or not (t1 > 0 and t2 > 0):  # also refuses NaN
        return None
    return float(t1), float(min(t2, 2 * t1))


def works(target: Target, name: str, qubits: Sequence[int], silent: Collection[Kind] = ()) -> bool:
    """Whether an instruction is calibrated, with an error below `DEAD_ERROR`.

    The duration of a gate must be known as well; that of a read-out changes no result.

    Args:
        target: The target.
        name: Name of the instruction.
        qubits: Where it acts.
        silent: Kinds of numbers that need not be known, see `unstated`.
    """
    if not _listed_for(target, name, qubits):
        return False
    error = known_error(target, name, qubits)
    if error is None and "gate and read-out errors" not in silent:
        return False
    if error is not None and error >= DEAD_ERROR:
        return False
    return (
        name == "measure"
        or "durations" in silent
        or known_seconds(target, name, qubits) is not None
    )


def gate_names(target: Target, num_qubits: int, *, fractional: bool = False) -> tuple[str, ...]:
    """Return the gates on one or two qubits that the target lists and that work somewhere.

    Two-qubit gates with free angles are counted only where there are no others, or where
    `fractional` asks for them. One-qubit gates
    other than SX, the one pulse of many sets, are not counted where they work on less than half of
    their qubits: a circuit does without them, rather than without the qubits.
    """
    silent = unstated(target)
    names: list[str] = []
    free: list[str] = []
    for name in sorted(target.operation_names):
        operation = target.operation_from_name(name)
        if not isinstance(operation, Gate) or operation.num_qubits != num_qubits:
            continue
        if name in _UNUSED or name in _NOT_ENTANGLING:
            continue
        places = _places(target, name)
        good = sum(works(target, name, qubits, silent) for qubits in places)
        if good and (num_qubits == 2 or name == "sx" or 2 * good >= len(places)):
            (free if num_qubits == 2 and operation.params else names).append(name)
    return (*names, *free) if fractional else tuple(names or free)


def has_fractional_gates(target: Target) -> bool:
    """Whether a target has working gates of any angle, frame changes aside."""
    names = (*gate_names(target, 1), *gate_names(target, 2, fractional=True))
    return any(
        name not in VIRTUAL_GATES and bool(target.operation_from_name(name).params)
        for name in names
    )


def working_qubits(target: Target) -> frozenset[int]:
    """Return the qubits whose one-qubit gates, read-out, T₁ and T₂ are known and work."""
    needed, silent = (*gate_names(target, 1), "measure"), unstated(target)
    return frozenset(
        qubit
        for qubit in range(target.num_qubits or 0)
        if ("T1 and T2" in silent or known_relaxation(target, qubit) is not None)
        and all(works(target, name, (qubit,), silent) for name in needed)
    )


def working(target: Target) -> Target:
    """Return a target without the gates and read-outs that are unknown or do not work.

    The transpiler takes what has no error for perfect, and a broken edge where a route is short.
    Gates that the target lists for all qubits at once are listed qubit by qubit.
    """
    alive, needed = working_qubits(target), (*gate_names(target, 1), "measure")
    silent = unstated(target)
    kept = Target(
        description=target.description,
        num_qubits=target.num_qubits,
        dt=target.dt,
        granularity=target.granularity,
        min_length=target.min_length,
        pulse_alignment=target.pulse_alignment,
        acquire_alignment=target.acquire_alignment,
        qubit_properties=target.qubit_properties,
    )
    dropped = False
    for name, instances in target.items():
        operation = target.operation_from_name(name)
        if not isinstance(operation, Gate | Measure):
            known = {} if instances in (None, {None: None}) else {"properties": instances}
            kept.add_instruction(operation, **known, name=name)
            continue
        spared = operation.num_qubits == 1 and name not in (*needed, *_UNUSED)
        good = {
            qubits: _properties(target, name, qubits)
            for qubits in ([] if spared else _places(target, name))
            if alive.issuperset(qubits) and works(target, name, qubits, silent)
        }
        dropped |= good.keys() != (instances or {None: None}).keys()
        if good:
            kept.add_instruction(operation, good, name=name)
    return kept if dropped else target


def left_out(target: Target) -> tuple[str, ...]:
    """Return sentences on the qubits and edges that `working` leaves out, for notes."""
    kept = working(target)
    if kept is target:
        return ()
    needed, alive = (*gate_names(target, 1), "measure"), working_qubits(target)
    silent = unstated(target)
    every = range(target.num_qubits or 0)
    broken_qubits = {q for q in every if q not in alive and _known_qubit(target, q, needed, silent)}
    unknown_qubits = {q for q in every if q not in alive} - broken_qubits
    linked = {_edge(where) for name in gate_names(kept, 2) for where in _places(kept, name)}
    broken_edges: set[tuple[int, int]] = set()
    unknown_edges: set[tuple[int, int]] = set()
    for name in gate_names(target, 2):
        for where in _places(target, name):
            if _edge(where) in linked or not alive.issuperset(where):
                continue
            known = known_error(target, name, where) is not None
            (broken_edges if known else unknown_edges).add(_edge(where))
    sentences = []
    for why, qubits, edges in (
        ("the calibration does not know them", unknown_qubits, unknown_edges),
        (f"their error is {DEAD_ERROR:g} or more", broken_qubits, broken_edges - unknown_edges),
    ):
        parts = (
            _listed("qubit", [str(q) for q in sorted(qubits)]),
            _listed("edge", [f"{a}-{b}" for a, b in sorted(edges)]),
        )
        if any(parts):
            sentences.append(f"Left out, since {why}: {'; '.join(filter(None, parts))}.")
    return tuple(sentences)


def _known_qubit(
    target: Target, qubit: int, needed: Sequence[str], silent: Collection[Kind]
) -> bool:
    """Whether the calibration knows about a qubit all that it states of any, working or not."""
    if "T1 and T2" not in silent and known_relaxation(target, qubit) is None:
        return False
    return "gate and read-out errors" in silent or all(
        known_error(target, name, (qubit,)) is not None
        and (
            name == "measure"
            or "durations" in silent
            or known_seconds(target, name, (qubit,)) is not None
        )
        for name in needed
    )


def _edge(qubits: Sequence[int]) -> tuple[int, int]:
    a, b = sorted(qubits)
    return a, b


def _listed(what: str, names: Sequence[str], limit: int = 12) -> str:
    if not names:
        return ""
    shown = ", ".join(names[:limit]) + (f" and {len(names) - limit} more" * (len(names) > limit))
    return f"{what}{'s' * (len(names) > 1)} {shown}"


def _properties(target: Target, name: str, qubits: Sequence[int]) -> Any:
    instances = (target[name] if name in target.operation_names else None) or {}
    return instances.get(tuple(qubits), instances.get(None))


def _listed_for(target: Target, name: str, qubits: Sequence[int]) -> bool:
    instances = (target[name] if name in target.operation_names else None) or {}
    return tuple(qubits) in instances or None in instances


def _places(target: Target, name: str) -> list[tuple[int, ...]]:
    """Return where an instruction can act; one that is listed for all qubits at once, anywhere."""
    instances = target[name] or {}
    if None not in instances:
        return list(instances)
    width = target.operation_from_name(name).num_qubits
    if width > 2:
        return []
    return list(itertools.permutations(range(target.num_qubits or 0), width))
