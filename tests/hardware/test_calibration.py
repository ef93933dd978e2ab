"""Unknown is neither zero nor perfect: what the calibration does not know is used nowhere."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.providers import BackendV2, QubitProperties
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import InstructionProperties, Target
from qiskit_ibm_runtime.fake_provider import FakeGuadalupeV2

from hardware.devices.backends import working_target
from hardware.devices.calibration import left_out
from hardware.devices.error_map import ErrorMap
from hardware.emulation.noise import calibrated_noise, readout_confusions
from hardware.emulation.tiled import components
from hardware.errors import InvalidInputError, PlanError
from hardware.planning.drawing import draw_plan
from hardware.planning.options import PlanOptions
from hardware.planning.plan import JobPlan
from hardware.planning.planner import plan
from hardware.planning.ranking import rank
from hardware.workload import Workload

NOTHING = [None, math.nan, -0.1, 1.5, math.inf]


def chain_work(num_qubits: int) -> Workload:
    circuit = QuantumCircuit(num_qubits)
    names = tuple(f"x[{q}]" for q in range(num_qubits))
    for qubit, name in enumerate(names):
        circuit.ry(Parameter(name), qubit)
    for qubit in range(num_qubits - 1):
        circuit.cx(qubit, qubit + 1)
    label = "Z" + "I" * (num_qubits - 1)
    return Workload(circuit, names, np.ones((1, num_qubits)), (SparsePauliOp(label),))


def planned(backend: BackendV2, num_qubits: int = 2, tiles: int = 1) -> JobPlan:
    return plan(chain_work(num_qubits), backend, PlanOptions(shots=10, tiles=tiles))


def change(
    backend: BackendV2, name: str, qubits: tuple[int, ...], *, both: bool = True, **values: object
) -> None:
    """Overwrite what the calibration says of an instruction, in both directions of an edge."""
    for where in {qubits, qubits[::-1]} if both else {qubits}:
        if where in backend.target[name]:
            old = backend.target[name][where]
            new = {"error": old.error, "duration": old.duration} | values
            backend.target.update_instruction_properties(name, where, InstructionProperties(**new))


def used(made: JobPlan) -> tuple[set[int], set[tuple[int, ...]]]:
    """Qubits and edges that the plan's circuits use."""
    qubits: set[int] = set()
    edges = set()
    for circuit in made.circuits:
        for step in circuit.data:
            where = tuple(sorted(circuit.find_bit(q).index for q in step.qubits))
            if step.operation.name != "barrier":
                qubits |= set(where)
                edges |= {where} if len(where) == 2 else set()
    return qubits, edges


@pytest.mark.parametrize("error", [*NOTHING, 0.5, 1.0])
def test_an_edge_that_nobody_knows_is_left_out(error: float | None) -> None:
    backend = FakeGuadalupeV2()
    (best,) = used(planned(backend))[1]
    change(backend, "cx", best, error=error)
    made = planned(backend)
    assert best not in used(made)[1]
    why = "their error is 0.5" if error in (0.5, 1.0) else "does not know"
    (note,) = [note for note in made.notes if why in note]
    assert note.endswith(f": edge {best[0]}-{best[1]}.")
    (ranked,) = rank(chain_work(2), [backend])
    assert (ranked.dead_edges, note in ranked.notes) == (1, True)
    device = ErrorMap.of(backend.target)  # prices nothing that the working target does not have
    assert best not in device.edges
    assert not np.isfinite(device.edge_loss[best])
    (line,) = [
        line for line in draw_plan(made, backend).axes[0].lines if line.get_color() == "tab:red"
    ]
    assert line.get_xydata().shape == (2, 2)
    circuit = QuantumCircuit(16, 1)
    circuit.cx(*best)
    circuit.measure(best[1], 0)
    with pytest.raises(InvalidInputError, match="'cx' on qubits"):
        components(circuit, backend)


def test_an_edge_that_is_known_in_one_direction_is_used_in_that_one() -> None:
    backend = FakeGuadalupeV2()
    a, b = next(iter(used(planned(backend))[1]))
    change(backend, "cx", (a, b), both=False, error=None)
    device = ErrorMap.of(backend.target)
    assert (a, b) in device.edges
    assert device.edge_loss[a, b] == device.edge_loss[b, a]
    error = backend.target["cx"][b, a].error
    assert device.edge_loss[a, b] == pytest.approx(-math.log(1 - error))
    assert device.edge_time[a, b] == backend.target["cx"][b, a].duration
    assert left_out(backend.target) == ()
    assert (a, b) not in working_target(backend)["cx"]


def no_times(t1: float | None, t2: float | None) -> Callable[[BackendV2, int], None]:
    def forget(backend: BackendV2, qubit: int) -> None:
        about = list(backend.target.qubit_properties)
        about[qubit] = QubitProperties(t1=t1, t2=t2)
        backend.target.qubit_properties = about

    return forget


def no_number(name: str, **values: object) -> Callable[[BackendV2, int], None]:
    return lambda backend, qubit: change(backend, name, (qubit,), **values)


FORGOTTEN = {
    **{f"{name} {e}": no_number(name, error=e) for name in ("sx", "x", "measure") for e in NOTHING},
    **{f"duration {d}": no_number("sx", duration=d) for d in (None, math.nan, -1e-9)},
    "no t1": no_times(None, 50e-6),
    "no t2": no_times(50e-6, None),
    "t1 nan": no_times(math.nan, 50e-6),
    "t2 nan": no_times(50e-6, math.nan),
    "t1 zero": no_times(0.0, 50e-6),
    "t2 negative": no_times(50e-6, -1e-6),
    "sx dead": no_number("sx", error=0.5),
    "measure dead": no_number("measure", error=0.7),
}


@pytest.mark.parametrize("forget", FORGOTTEN.values(), ids=FORGOTTEN.keys())
@pytest.mark.parametrize("num_qubits", [1, 2])
def test_a_qubit_that_nobody_knows_is_left_out(
    forget: Callable[[BackendV2, int], None], num_qubits: int
) -> None:
    backend = FakeGuadalupeV2()
    best = min(used(planned(backend, num_qubits))[0])
    forget(backend, best)
    made = planned(backend, num_qubits)
    assert best not in used(made)[0]
    (note,) = [note for note in made.notes if note.startswith("Left out, since")]
    assert note.endswith(f": qubit {best}.")
    assert note in rank(chain_work(num_qubits), [backend])[0].notes
    assert best not in ErrorMap.of(backend.target).qubits
    circuit = QuantumCircuit(16, 1)
    circuit.sx(best)
    circuit.x(best)
    circuit.measure(best, 0)
    with pytest.raises(InvalidInputError, match=r"does not know|does not work|how long"):
        components(circuit, backend)


def test_all_that_is_left_out_is_said() -> None:
    backend = FakeGuadalupeV2()
    assert left_out(backend.target) == ()
    assert working_target(backend) is backend.target
    for edge in ((0, 1), (1, 4)):
        change(backend, "cx", edge, error=None)
    change(backend, "cx", (12, 15), error=1.0)
    change(backend, "sx", (6,), error=0.9)
    change(backend, "measure", (9,), error=math.nan)
    assert left_out(backend.target) == (
        "Left out, since the calibration does not know them: qubit 9; edges 0-1, 1-4.",
        "Left out, since their error is 0.5 or more: qubit 6; edge 12-15.",
    )
    many = FakeGuadalupeV2()
    for pair in sorted({tuple(sorted(pair)) for pair in many.target["cx"]})[:14]:
        change(many, "cx", pair, error=None)
    assert left_out(many.target)[0].endswith(" and 2 more.")


def test_gates_that_are_broken_nearly_everywhere_are_done_without() -> None:
    backend = FakeGuadalupeV2()
    for qubit in range(9):
        change(backend, "x", (qubit,), error=None)
    assert ErrorMap.of(backend.target).gates.one == ("rz", "sx")
    assert len(ErrorMap.of(backend.target).qubits) == 16
    change(backend, "x", (8,), error=1e-4)
    assert ErrorMap.of(backend.target).gates.one == ("rz", "sx", "x")
    assert ErrorMap.of(backend.target).qubits == tuple(range(8, 16))


def test_frames_are_virtual_without_a_number() -> None:
    backend = FakeGuadalupeV2()
    for qubit in range(16):
        change(backend, "rz", (qubit,), error=None, duration=None)
    device = ErrorMap.of(backend.target)
    assert device.qubits == tuple(range(16))
    assert not device.losses["rz"].any()
    assert not device.times["rz"].any()


def test_a_backend_without_any_calibration_has_unknown_errors() -> None:
    backend = GenericBackendV2(4, noise_info=False)
    made = planned(backend)
    assert [tile.expected_error for tile in made.tiles] == [None]
    assert any("the expected error of the tiles is unknown" in note for note in made.notes)
    assert any("µs for a two-qubit gate" in note for note in made.notes)
    assert rank(chain_work(2), [backend]) == ()
    circuit = QuantumCircuit(2, 1)
    circuit.cx(0, 1)
    circuit.measure(1, 0)
    with pytest.raises(InvalidInputError, match="how long 'cx'"):
        components(circuit, backend)
    assert planned(GenericBackendV2(4, seed=1)).tiles


def test_read_out_noise_needs_known_flips() -> None:
    backend = GenericBackendV2(2, seed=1)
    (known,) = readout_confusions(backend, [1])
    error = backend.target["measure"][1,].error
    assert known is not None
    np.testing.assert_allclose(known, [[1 - error, error], [error, 1 - error]])
    for wrong in NOTHING:
        change(backend, "measure", (1,), error=wrong)
        with pytest.raises(InvalidInputError, match="'measure' on qubit 1"):
            readout_confusions(backend, [1])
    circuit = QuantumCircuit(2)
    circuit.sx(0)
    circuit.sx(1)
    noise = calibrated_noise(backend, circuit, range(2), [0])  # qubit 1 is not read
    assert noise.readout.keys() == {0}
    change(backend, "measure", (1,), error=0.0)
    assert readout_confusions(backend, [1]) == [None]


class _Flips:
    """Properties of a device with read-out errors of one qubit."""

    def __init__(self, up: float | None, down: float | None) -> None:
        self._values = {"prob_meas1_prep0": (up, None), "prob_meas0_prep1": (down, None)}

    def qubit_property(self, qubit: int) -> dict[str, tuple[float | None, None]]:
        return self._values


@pytest.mark.parametrize("wrong", NOTHING)
def test_asymmetric_flips_that_are_unknown_fall_back_on_the_error(wrong: float | None) -> None:
    backend = GenericBackendV2(2, seed=1)
    error = backend.target["measure"][0,].error
    for flips in ((wrong, 0.02), (0.02, wrong)):
        backend.properties = lambda flips=flips: _Flips(*flips)  # type: ignore[attr-defined]
        (matrix,) = readout_confusions(backend, [0])
        assert matrix is not None
        assert matrix[0, 1] == matrix[1, 0] == error
    backend.properties = lambda: _Flips(0.01, 0.03)  # type: ignore[attr-defined]
    (matrix,) = readout_confusions(backend, [0])
    np.testing.assert_allclose(matrix, [[0.99, 0.01], [0.03, 0.97]])
    backend.properties = lambda: _Flips(0.0, 1.0)  # type: ignore[attr-defined]
    (matrix,) = readout_confusions(backend, [0])
    np.testing.assert_allclose(matrix, [[1.0, 0.0], [1.0, 0.0]])


def test_targets_without_properties_are_unknown() -> None:
    target = Target(num_qubits=2)
    assert left_out(target) == ()
    with pytest.raises(PlanError):
        ErrorMap.of(target)
