from __future__ import annotations

import numpy as np
import pytest
from contracts.sampling_bounds import shifted
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import InstructionProperties
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from hardware.devices.backends import calibration_id, calibration_snapshot, fake_backend
from hardware.emulation.calibrated import CalibratedTarget
from hardware.planning.drawing import draw_plan, qubit_positions
from hardware.planning.options import PlanOptions
from hardware.planning.planner import plan
from hardware.planning.ranking import rank
from hardware.workload import Workload


def chain_work(num_qubits: int = 4, num_rows: int = 1) -> Workload:
    circuit = QuantumCircuit(num_qubits)
    names = tuple(f"x[{q}]" for q in range(num_qubits))
    for qubit, name in enumerate(names):
        circuit.ry(Parameter(name), qubit)
    for qubit in range(num_qubits - 1):
        circuit.cx(qubit, qubit + 1)
    values = np.random.default_rng(1).uniform(-1, 1, (num_rows, num_qubits))
    return Workload(circuit, names, values, (SparsePauliOp("Z" * num_qubits),))


def test_a_calibration_has_an_identifier_of_its_own() -> None:
    first, second = FakeManilaV2(), FakeManilaV2()
    assert calibration_id(first) == calibration_id(second)
    properties = second.target["cx"][0, 1]
    changed = InstructionProperties(duration=properties.duration, error=properties.error * 1.0001)
    second.target.update_instruction_properties("cx", (0, 1), changed)
    assert calibration_id(first) != calibration_id(second)
    assert calibration_id(first) != calibration_id(fake_backend("lima"))


def test_a_snapshot_holds_the_numbers_of_the_regions() -> None:
    backend = FakeManilaV2()
    found = calibration_snapshot(backend, [(1, 0), (3,)])
    assert found["regions"] == [[1, 0], [3]]
    assert found["errors"]["cx 0-1"] == backend.target["cx"][0, 1].error
    assert "cx 1-2" not in found["errors"]
    assert found["t1"]["3"] == backend.target.qubit_properties[3].t1


@pytest.mark.sampled
def test_backends_are_ranked_by_what_the_circuit_would_suffer() -> None:
    names = ("manila", "lima", "guadalupe", "fez")
    ranked = rank(chain_work(), [fake_backend(name) for name in names])
    errors = [each.expected_error for each in ranked]
    assert len(ranked) == 4
    assert errors == sorted(errors)
    assert ranked[0].name == "fake_fez"
    by_name = {each.name: each for each in ranked}
    assert by_name["fake_fez"].dead_edges > 0
    assert by_name["fake_lima"].two_qubit_gates >= 3
    # Independent check of both ends: how far the emulated parity of |0000⟩ is from one.
    work, shrink = chain_work(), {}
    flat = Workload(work.circuit, work.parameters, np.zeros((1, 4)), work.observables)
    for name in names:
        value = CalibratedTarget(name, shots=10**9, seed=shifted(1)).run(flat).values[0, 0]
        shrink[f"fake_{name}"] = 1 - value
    assert min(shrink, key=shrink.__getitem__) == ranked[0].name
    assert max(shrink, key=shrink.__getitem__) == ranked[-1].name


def test_backends_that_are_too_small_are_left_out() -> None:
    ranked = rank(chain_work(6), [fake_backend("manila"), fake_backend("guadalupe")])
    assert [each.name for each in ranked] == ["fake_guadalupe"]


@pytest.mark.parametrize("name", ["fez", "sherbrooke", "torino", "manila", "guadalupe"])
def test_every_qubit_of_a_chip_gets_a_place_of_its_own(name: str) -> None:
    backend = fake_backend(name)
    edges = sorted({tuple(sorted(pair)) for pair in backend.coupling_map.get_edges()})
    positions = qubit_positions(edges, backend.num_qubits)  # type: ignore[arg-type]
    assert np.isfinite(positions).all()
    assert len({tuple(place) for place in positions.round(3).tolist()}) == backend.num_qubits
    if name in ("fez", "sherbrooke", "torino"):  # rows and bridges: every edge is short
        ends = np.array(edges)
        lengths = np.linalg.norm(positions[ends[:, 0]] - positions[ends[:, 1]], axis=1)
        assert lengths.max() < 1.5


def test_a_plan_is_drawn(tmp_path: object) -> None:
    backend = fake_backend("guadalupe")
    made = plan(chain_work(4, 6), backend, PlanOptions(shots=10, tiles=2))
    figure = draw_plan(made, backend)
    assert any("2 tiles of 4 qubits on fake_guadalupe" in text.get_text() for text in figure.texts)
    figure.savefig(tmp_path / "chip.png")  # type: ignore[operator]
