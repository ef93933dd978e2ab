from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import Gate, Parameter, ParameterVector, QuantumCircuit, Qubit
from qiskit.circuit.library import PauliEvolutionGate
from qiskit.quantum_info import SparsePauliOp

from hardware.circuits.hashing import circuit_digest
from hardware.errors import InvalidWorkloadError
from hardware.workload import Workload

Z0 = SparsePauliOp("IZ")


def build(
    names: tuple[str, ...] = ("x", "w"),
    values: object = ((0.1, 0.2), (0.3, 0.4)),
    observables: tuple[SparsePauliOp, ...] = (Z0,),
    change: Callable[[QuantumCircuit], object] | None = None,
) -> Workload:
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("x"), 0)
    circuit.cx(0, 1)
    circuit.rz(2 * Parameter("w") + 0.1, 1)
    if change:
        change(circuit)
    return Workload(circuit, names, np.array(values), observables)


def test_values_are_ordered_by_name() -> None:
    work = build()
    assert [p.name for p in work.circuit.parameters] == ["w", "x"]
    np.testing.assert_array_equal(work.ordered_values(), [[0.2, 0.1], [0.4, 0.3]])
    np.testing.assert_array_equal(work.named_values()["w"], [0.2, 0.4])


def test_rows_keep_everything_else() -> None:
    part = build().rows([1])
    assert part.num_samples == 1
    np.testing.assert_array_equal(part.values, [[0.3, 0.4]])


def test_values_are_a_private_copy() -> None:
    values = np.zeros((1, 2))
    work = build(values=values)
    values[0, 0] = 5.0
    assert work.values[0, 0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        work.values[0, 0] = 1.0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: build(names=("x",)), "missing"),
        (lambda: build(names=("x", "x")), "missing"),
        (lambda: build(names=("x", "y")), "unknown"),
        (lambda: build(values=[0.1, 0.2]), "shape"),
        (lambda: build(values=[[0.1, 0.2, 0.3]]), "shape"),
        (lambda: build(values=np.zeros((0, 2))), "no parameter sets"),
        (lambda: build(values=[[0.0, 0.0], [0.0, np.nan]]), "row 1"),
        (lambda: build(values=[[np.inf, 0.0]]), "row 0"),
        (lambda: build(observables=()), "no observables"),
        (lambda: build(observables=(SparsePauliOp("Z"),)), "2 qubits"),
        (lambda: build(observables=(SparsePauliOp("ZZ", 1j),)), "real coefficients"),
        (lambda: build(change=lambda c: c.measure_all()), "classical bits"),
        (lambda: build(change=lambda c: c.reset(0)), "reset"),
    ],
)
def test_parts_that_do_not_fit_are_refused(make: Callable[[], Workload], text: str) -> None:
    with pytest.raises(InvalidWorkloadError, match=text):
        make()


def test_the_hash_of_a_workload_built_twice_is_one() -> None:
    assert build().content_hash() == build().content_hash()
    assert len(build().content_hash()) == 64


def test_names_metadata_and_registers_do_not_count() -> None:
    plain = build().circuit
    dressed = QuantumCircuit(1, name="other", metadata={"a": 1})
    dressed.add_bits([Qubit()])
    dressed.compose(plain, [0, 1], inplace=True)
    assert circuit_digest(dressed) == circuit_digest(plain)


def test_vector_elements_and_parameters_of_one_name_are_the_same() -> None:
    vector, single = QuantumCircuit(1), QuantumCircuit(1)
    vector.ry(ParameterVector("x", 2)[1], 0)
    single.ry(Parameter("x[1]"), 0)
    assert circuit_digest(vector) == circuit_digest(single)


def test_automatic_names_of_sub_circuits_do_not_count() -> None:
    def build_nested() -> QuantumCircuit:
        part = QuantumCircuit(2)
        part.h(0)
        part.cx(0, 1)
        whole = QuantumCircuit(2)
        whole.append(part.to_gate(), [0, 1])
        return whole

    assert circuit_digest(build_nested()) == circuit_digest(build_nested())


def block(name: str = "layer", angle: float = 0.3) -> Gate:
    part = QuantumCircuit(2, name=name)
    part.h(0)
    part.cx(0, 1)
    part.rz(angle, 1)
    return part.to_gate()


BLOCKS: dict[str, Callable[[], Gate]] = {
    "block": block,
    "controlled": lambda: block().control(1),
    "inverse": lambda: block().inverse(),
    "power": lambda: block().power(2),
    "twice controlled": lambda: block().control(2, ctrl_state=1),
    "evolution": lambda: PauliEvolutionGate(SparsePauliOp(["XX", "ZI"], [0.5, 0.25]), 0.4),
    "controlled evolution": lambda: PauliEvolutionGate(SparsePauliOp("XX"), 0.4).control(1),
}


def with_blocks(make: Callable[[], Gate]) -> Workload:
    circuit = QuantumCircuit(4)
    circuit.ry(Parameter("x"), 0)
    for _ in range(2):
        gate = make()
        circuit.append(gate, range(gate.num_qubits))
    return Workload(circuit, ("x",), np.array([[0.1]]), (SparsePauliOp("IIIZ"),))


@pytest.mark.parametrize("kind", BLOCKS)
def test_two_builds_of_a_callers_block_have_one_hash(kind: str) -> None:
    assert with_blocks(BLOCKS[kind]).content_hash() == with_blocks(BLOCKS[kind]).content_hash()


def test_blocks_of_one_name_and_other_contents_have_other_hashes() -> None:
    makers = (
        *BLOCKS.values(),
        lambda: block(angle=0.4),
        lambda: block(angle=0.4).control(1),
        lambda: block().control(1, ctrl_state=0),
    )
    assert len({with_blocks(make).content_hash() for make in makers}) == len(makers)
    assert with_blocks(block).content_hash() == with_blocks(lambda: block("other")).content_hash()


def test_another_process_hashes_blocks_alike() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests/hardware')\n"
        "from test_workload import BLOCKS, with_blocks\n"
        "print(*(with_blocks(make).content_hash() for make in BLOCKS.values()))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == [with_blocks(make).content_hash() for make in BLOCKS.values()]


def test_another_process_computes_the_same_hash() -> None:
    code = (
        "from qiskit.circuit import QuantumCircuit, Parameter\n"
        "from hardware.circuits.hashing import circuit_digest\n"
        "[Parameter(str(i)) for i in range(7)]\n"
        "c = QuantumCircuit(2); c.ry(Parameter('x'), 0); c.cx(0, 1)\n"
        "c.rz(2 * Parameter('w') + 0.1, 1); print(circuit_digest(c))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == circuit_digest(build().circuit)


CHANGES: dict[str, Callable[[], str]] = {
    "a value": lambda: build(values=((0.1, 0.2), (0.3, np.nextafter(0.4, 1)))).content_hash(),
    "the order of rows": lambda: build(values=((0.3, 0.4), (0.1, 0.2))).content_hash(),
    "the number of rows": lambda: build(values=((0.1, 0.2),)).content_hash(),
    "the columns": lambda: build(names=("w", "x")).content_hash(),
    "an observable": lambda: build(observables=(SparsePauliOp("ZI"),)).content_hash(),
    "a coefficient": lambda: build(observables=(SparsePauliOp("IZ", 2.0),)).content_hash(),
    "one more observable": lambda: build(observables=(Z0, Z0)).content_hash(),
    "a gate": lambda: build(change=lambda c: c.x(0)).content_hash(),
    "the qubits of a gate": lambda: build(change=lambda c: c.x(1)).content_hash(),
    "an angle": lambda: build(change=lambda c: c.rz(0.1, 0)).content_hash(),
    "an angle by little": lambda: build(change=lambda c: c.rz(0.1 + 1e-16, 0)).content_hash(),
    "an option": lambda: build().content_hash(options='{"shots":1}'),
    "another option": lambda: build().content_hash(options='{"shots":2}'),
    "the calibration": lambda: build().content_hash(calibration_id='{"shots":1}'),
    "nothing": lambda: build().content_hash(),
}


def test_every_change_has_a_hash_of_its_own() -> None:
    hashes = {name: make() for name, make in CHANGES.items()}
    assert len(set(hashes.values())) == len(hashes)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(-7, 7, width=32), min_size=2, max_size=2), min_size=1, max_size=4),
    st.lists(st.lists(st.floats(-7, 7, width=32), min_size=2, max_size=2), min_size=1, max_size=4),
)
def test_hashes_agree_exactly_where_values_do(a: list[list[float]], b: list[list[float]]) -> None:
    same = np.array_equal(np.array(a), np.array(b))  # 0.0 and -0.0 are one value
    assert (build(values=a).content_hash() == build(values=b).content_hash()) == same
