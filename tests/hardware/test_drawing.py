"""Pictures of chips: what stands in them can be read, on five qubits as on 156."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from hardware.devices.backends import fake_backend
from hardware.planning.drawing import draw_plan, qubit_positions
from hardware.planning.options import PlanOptions
from hardware.planning.planner import plan
from hardware.workload import Workload


def edges_of(backend):
    return sorted({tuple(sorted(pair)) for pair in backend.coupling_map.get_edges()})


@pytest.mark.parametrize(
    ("name", "longest"),
    # a line, a T, a bow tie, an H, a ladder, a loop, a loop with a qubit on its own, two lattices
    [
        ("manila", 1.1), ("lima", 1.5), ("yorktown", 1.5), ("lagos", 1.5), ("melbourne", 1.5),
        ("guadalupe", 1.5), ("cairo", 1.5), ("rochester", 1.1), ("berlin", 2.1), ("fez", 1.1),
    ],
)  # fmt: skip
def test_qubits_stand_apart_and_neighbours_near(name, longest):
    backend = fake_backend(name)
    edges = edges_of(backend)
    positions = qubit_positions(edges, backend.num_qubits)
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    assert apart[np.triu_indices(len(positions), 1)].min() >= 0.79
    for a, b in edges:
        assert apart[a, b] <= longest
        # no edge runs behind a third qubit
        along = (positions[b] - positions[a]) / apart[a, b]
        others = np.delete(np.arange(len(positions)), [a, b])
        offset = positions[others] - positions[a]
        on_the_way = (offset @ along > 0) & (offset @ along < apart[a, b])
        away = np.abs(offset[:, 0] * along[1] - offset[:, 1] * along[0])
        assert not (on_the_way & (away < 0.2)).any(), (a, b)


def test_chips_of_one_and_two_qubits():
    assert qubit_positions([], 1).tolist() == [[0, 0]]
    assert np.ptp(qubit_positions([(0, 1)], 2), axis=0).max() == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize(("name", "num_qubits"), [("manila", 4), ("lima", 3), ("fez", 10)])
def test_words_are_whole_and_do_not_overlap(name, num_qubits):
    backend = fake_backend(name)
    x = ParameterVector("x", num_qubits)
    circuit = QuantumCircuit(num_qubits)
    for qubit in range(num_qubits):
        circuit.ry(x[qubit], qubit)
        if qubit:
            circuit.cx(qubit - 1, qubit)
    z = SparsePauliOp.from_sparse_list([("Z", [0], 1.0)], num_qubits)
    workload = Workload(circuit, tuple(p.name for p in x), np.ones((9, num_qubits)), (z,))
    made = plan(workload, backend, PlanOptions(shots=100), target=f"fake:{name}:100")
    figure = draw_plan(made, backend)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    words = [text for axes in figure.axes for text in axes.texts] + list(figure.texts)
    words += [label for axes in figure.axes[1:] for label in axes.get_xticklabels()]
    words += [axes.xaxis.label for axes in figure.axes[1:]]
    words += [axes.title for axes in figure.axes if axes.get_title()]
    assert len(words) > backend.num_qubits
    boxes = [word.get_window_extent(renderer) for word in words]
    for word, box in zip(words, boxes, strict=True):
        assert figure.bbox.x0 <= box.x0, word
        assert box.x1 <= figure.bbox.x1, word
        assert figure.bbox.y0 <= box.y0, word
        assert box.y1 <= figure.bbox.y1, word
    for i, one in enumerate(boxes):
        for j in range(i):
            assert not one.overlaps(boxes[j]), (words[i], words[j])
