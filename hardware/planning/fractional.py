"""Gates of any angle: the range that a device takes, and folding angles into it.

The platform's RZZ takes angles from 0 to π/2. The client does not check that where jobs are made of
programs, as they are here, and an angle outside would fail on the device, after it was paid for. So
angles are folded when a plan is made, and checked by the client's own rule, also when one is read.
Angles that are numbers are folded by the client's ``FoldRzzAngle``. Those that differ from row to
row get parameters of their own: the folded angle, and rotations of single qubits by 0 or π around
it, which cost a little time and error in every row. The rule is that of the client's
``convert_to_rzz_valid_pub``, which leaves a gate alone where all rows are a whole turn away from
the range.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import numpy as np
from qiskit.circuit import Parameter, ParameterExpression, QuantumCircuit
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.transpiler import PassManager, Target
from qiskit.transpiler.passes import Optimize1qGatesDecomposition

from hardware.circuits.definitions import storable
from hardware.errors import PlanError
from hardware.planning.plan import JobPlan

_NAMESPACE = uuid.UUID("0c5d0f0e-5f0b-5b7c-9b5e-3f0d3a9a5b11")
#: The gate whose range is limited.
_LIMITED = "rzz"


def folded(circuit: QuantumCircuit, target: Target) -> QuantumCircuit:
    """Return a circuit whose numeric angles the device takes; free ones stay as they are."""
    # Imported here: the client takes most of a second.
    from qiskit_ibm_runtime.transpiler.passes import FoldRzzAngle

    if _LIMITED not in circuit.count_ops():
        return circuit
    passes = [FoldRzzAngle(), Optimize1qGatesDecomposition(target=target)]
    return storable(PassManager(passes).run(circuit))


def folded_values(
    circuit: QuantumCircuit, names: tuple[str, ...], values: np.ndarray
) -> tuple[QuantumCircuit, tuple[tuple[str, ...], np.ndarray]]:
    """Return a circuit and its values with every angle in the device's range.

    Args:
        circuit: Circuit whose numeric angles are in range.
        names: Names of its C parameters.
        values: Values of all sets, shape (S, C), radians.

    Returns:
        The circuit, with its C' parameters and their values, shape (S, C'). A gate whose angles
        are all in range stays as it is.
    """
    columns = dict(zip(names, values.T, strict=True))
    result, changed = circuit.copy_empty_like(), 0
    for step in circuit.data:
        angle = step.operation.params[0] if step.operation.name == _LIMITED else None
        if not isinstance(angle, ParameterExpression):
            result.append(step, copy=False)
            continue
        angles = _numbers(angle, columns)
        if (angles >= 0.0).all() and (angles <= np.pi / 2).all():
            result.append(step, copy=False)
            continue
        changed += 1
        inside, *flips = _fold(angles)
        made = []
        for kind, column in zip(("rzz", "rz", "rx"), (inside, *flips), strict=True):
            name = f"fold{changed}/{kind}"
            columns[name] = column
            made.append(Parameter(name, uuid=uuid.uuid5(_NAMESPACE, name)))
        first, second = step.qubits
        result.rz(made[1], [first, second])
        result.rx(made[2], first)
        result.rzz(made[0], first, second)
        result.rx(made[2], first)
    if not changed:
        return circuit, (names, values)
    every = tuple(sorted(each.name for each in result.parameters))
    return storable(result), (every, np.stack([columns[name] for name in every], axis=1))


def _numbers(angle: ParameterExpression, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return an angle in all sets, shape (S,), radians."""
    free = sorted(angle.parameters, key=lambda each: each.name)
    rows = zip(*(columns[each.name].tolist() for each in free), strict=True)
    return np.array([float(angle.bind(dict(zip(free, row, strict=True)))) for row in rows])


def _fold(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return angles in range, and those of the RZ on both qubits and the RX on one before them.

    RZZ(θ + π) is RZZ(θ) with an RZ(π) on each qubit, and RZZ(-θ) is RZZ(θ) between two X on one.
    """
    turned = (angles + np.pi / 2) % (2 * np.pi) >= np.pi
    inside = np.pi / 2 - np.abs(angles % np.pi - np.pi / 2)
    flipped = angles % np.pi >= np.pi / 2
    return np.clip(inside, 0.0, np.pi / 2), np.pi * turned, np.pi * flipped


def check_angles(plan: JobPlan) -> None:
    """Refuse a plan with angles that its device does not take.

    Raises:
        PlanError: It has one.
    """
    from qiskit_ibm_runtime.utils.utils import is_valid_rzz_pub

    if not plan.options.fractional_gates:
        return
    for job in plan.jobs:
        for pub in job.pubs:
            circuit = plan.circuits[pub.circuit]
            bound = {pub.parameters: pub.values} if pub.parameters else None
            if message := is_valid_rzz_pub(SamplerPub.coerce((circuit, bound))):
                raise PlanError(f"The client refuses an angle of the plan: {message} Plan again.")
