import pytest
from qiskit import QuantumCircuit, qasm3
from qiskit.circuit import Parameter, ParameterVector

from qhead.circuits import reuploading_circuit
from qhead.openqasm import says_the_same, to_openqasm


@pytest.fixture
def circuit():
    a, w = Parameter("a"), ParameterVector("w", 2)
    circuit = QuantumCircuit(2)
    circuit.ry(a, 0)
    circuit.cx(0, 1)
    circuit.ry(w[0], 1)
    circuit.rz(2 * w[1] + 0.25, 0)
    return circuit


def test_the_text_has_every_parameter_by_name(circuit):
    text = to_openqasm(circuit)
    assert text.startswith("OPENQASM 3.0;")
    assert {"a", "_w_0_", "_w_1_"} <= set(text.replace(";", " ").split())
    assert len(qasm3.loads(text).parameters) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace("\n", "\n\n"),
        lambda text: text + "// a remark\n",
        lambda text: text.replace("0.25", "0.250"),
        lambda text: text.replace("0.25 + 2*_w_1_", "2*_w_1_ + 0.25"),
    ],
)
def test_other_words_for_the_same_circuit(circuit, change):
    assert says_the_same(change(to_openqasm(circuit)), circuit)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("cx q[0], q[1]", "cx q[1], q[0]"),
        lambda text: text.replace("ry(a)", "rx(a)"),
        lambda text: text.replace("ry(a) q[0]", "ry(a) q[1]"),
        lambda text: text.replace("0.25", "0.26"),
        lambda text: text.replace("ry(_w_0_)", "ry(a)"),
        lambda text: text.replace("ry(a)", "ry(y)").replace("input float[64] a", "input float y"),
        lambda text: text.replace("cx q[0], q[1];", ""),
        lambda text: text.replace("qubit[2]", "qubit[3]"),
        lambda text: text + "h q[0];\n",
        lambda text: "",
        lambda text: "nonsense",
        lambda text: text.replace("stdgates.inc", "/etc/hostname"),
        lambda text: text.replace("OPENQASM 3.0", "OPENQASM 2.0"),
        lambda text: "\0" + text,
        # what a full reader would obey: memory, time, a recursion, a gate of another meaning
        lambda text: text.replace("qubit[2]", "qubit[1000000000]"),
        lambda text: text.replace("qubit[2]", "qubit[" + "9" * 10_000 + "]"),
        lambda text: text.replace("q[0]", "q[9]", 1),
        lambda text: text + "for int i in [0:1000000000] { h q[0]; }\n",
        lambda text: text.replace("0.25", "9**9**9**9"),
        lambda text: text.replace("0.25", "1/0"),
        lambda text: text.replace("0.25", "(" * 100_000 + "0.25" + ")" * 100_000),
        lambda text: text.replace("0.25", "exit()"),
        lambda text: text.replace("input", "gate ry(a) q { rx(a) q; }\ninput", 1),
        lambda text: text + "qubit[2] r;\n",
        lambda text: "OPENQASM 3.0;" * 1_000_000,
        lambda text: text[:-2],
    ],
)
def test_other_circuits(circuit, change, capsys):
    assert not says_the_same(change(to_openqasm(circuit)), circuit)


def test_a_head_s_circuit_round_trips():
    circuit = reuploading_circuit(3, 1, 2, 2)
    assert says_the_same(to_openqasm(circuit) + "\n", circuit)
    assert not says_the_same(to_openqasm(circuit), reuploading_circuit(3, 1, 2, 2, shared=False))
