from __future__ import annotations

import pytest
from qiskit.circuit import QuantumCircuit

from qhead.circuits import (
    ansatz,
    data_parameters,
    num_ansatz_parameters,
    reuploading_circuit,
    weight_parameters,
)
from qhead.errors import HeadError


def gates(circuit: QuantumCircuit) -> list[tuple[str, tuple[int, ...]]]:
    return [
        (i.operation.name, tuple(circuit.find_bit(q).index for q in i.qubits)) for i in circuit.data
    ]


def test_block_is_the_papers() -> None:
    """Figs. 2 and 3: for each c, CX (i, i + c) and RY on the target, one after the other."""
    block = gates(ansatz(3, 1, 2, reading="B"))[:12]
    expected = []
    for c in (1, 2):
        for i in range(3):
            expected += [("cx", (i, (i + c) % 3)), ("ry", ((i + c) % 3,))]
    assert block == expected


@pytest.mark.parametrize("topology", ["ring", "chain", "full"])
@pytest.mark.parametrize(("reading", "layers"), [("A", 0), ("A", 3), ("B", 1), ("B", 3)])
@pytest.mark.parametrize("qubits", [1, 2, 5])
def test_parameter_count(topology: str, reading: str, layers: int, qubits: int) -> None:
    for connectivity in {1, max(1, qubits - 1)}:
        circuit = ansatz(qubits, layers, connectivity, topology=topology, reading=reading)
        blocks = layers + 1 if reading == "A" else layers
        assert circuit.num_parameters == qubits * (connectivity * blocks + 1)
        assert circuit.num_parameters == num_ansatz_parameters(
            qubits, layers, connectivity, reading
        )


def test_the_two_readings_differ_by_one_block() -> None:
    assert gates(ansatz(4, 2, 2, reading="A")) == gates(ansatz(4, 3, 2, reading="B"))


@pytest.mark.parametrize(("connectivity", "layers"), [(4, 4), (5, 3), (2, 9)])
def test_the_papers_886_parameters(connectivity: int, layers: int) -> None:
    """Two 7-qubit encoders, PQC1 and PQC2 of 14 qubits, a linear layer of (1 + 1) 2."""
    encoder = num_ansatz_parameters(7, layers, connectivity)
    circuit = reuploading_circuit(14, layers, connectivity, 2)
    assert 2 * encoder + len(weight_parameters(circuit)) + (1 + 1) * 2 == 886


def test_chain_uses_neighbours_only_and_stays_shallow() -> None:
    circuit = ansatz(10, 1, 3, topology="chain")
    bonds = [qubits for name, qubits in gates(circuit) if name == "cx"]
    assert all(abs(a - b) == 1 for a, b in bonds)
    assert {frozenset(bond) for bond in bonds} == {frozenset((i, i + 1)) for i in range(9)}
    # Two layers of CX and one of RY for each of 2 x 3 sweeps, one layer of RY between.
    assert circuit.depth() <= 6 * 3 + 1


def test_full_joins_every_pair() -> None:
    circuit = ansatz(4, 0, 1, topology="full")
    bonds = {frozenset(q) for name, q in gates(circuit) if name == "cx"}
    assert len(bonds) == 6


def test_reuploads_share_pqc1_or_not() -> None:
    size = num_ansatz_parameters(3, 0, 1)
    shared = reuploading_circuit(3, 0, 1, 3)
    own = reuploading_circuit(3, 0, 1, 3, shared=False)
    assert len(weight_parameters(shared)) == 2 * size
    assert len(weight_parameters(own)) == 4 * size
    assert gates(shared) == gates(own)
    assert [p.name for p in data_parameters(own)] == ["x[0]", "x[1]", "x[2]"]
    names = [p.name for p in weight_parameters(own)]
    assert names[0] == "u0[0]"
    assert names[size] == "u1[0]"
    assert names[-1] == f"v[{size - 1}]"


def test_parameters_come_in_the_order_of_their_index_not_of_their_name() -> None:
    circuit = reuploading_circuit(12, 0, 1, 11, shared=False)
    assert [p.name for p in data_parameters(circuit)][9:] == ["x[9]", "x[10]", "x[11]"]
    names = [p.name for p in weight_parameters(circuit)]
    assert names.index("u9[0]") < names.index("u10[0]")
    assert names.index("u9[2]") < names.index("u9[10]")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_qubits": 0}, "num_qubits"),
        ({"num_qubits": 2.5}, "num_qubits"),
        ({"connectivity": 4}, "use connectivity=3"),
        ({"num_layers": -1}, "num_layers"),
        ({"num_reuploads": 0}, "num_reuploads"),
        ({"topology": "rign"}, "Did you mean 'ring'"),
        ({"reading": "C"}, "reading"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    good = {"num_qubits": 4, "num_layers": 1, "connectivity": 2, "num_reuploads": 1}
    with pytest.raises(HeadError, match=message):
        reuploading_circuit(**{**good, **options})


def test_reading_b_needs_a_layer() -> None:
    with pytest.raises(HeadError, match="num_layers"):
        ansatz(3, 0, 1, reading="B")
