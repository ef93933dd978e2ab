from __future__ import annotations

import numpy as np
import pytest
from contracts.sampling_bounds import assert_means, assert_shares, shifted
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import PTM, SparsePauliOp, Statevector, SuperOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error, pauli_error, thermal_relaxation_error
from qiskit_ibm_runtime.fake_provider import FakeLimaV2

from hardware.circuits.transforms import light_cone
from hardware.emulation.calibrated import CalibratedTarget
from hardware.emulation.error_channels import InstructionErrors
from hardware.emulation.pauli_simulator import PauliProgram, transfer_matrix
from hardware.emulation.rates import NoisyTarget
from hardware.emulation.sampling import Method, PreparedCircuit, Sampler
from hardware.errors import UnsupportedCircuitError
from hardware.workload import Workload

ONE = depolarizing_error(0.05, 1)
RELAX = thermal_relaxation_error(50, 30, 8).expand(thermal_relaxation_error(20, 35, 8))
TWO = depolarizing_error(0.1, 2).compose(RELAX)
# Does not split into a Pauli channel followed by one-qubit maps.
TANGLED = TWO.compose(pauli_error([("XX", 0.2), ("II", 0.8)]))
ERRORS = {"ry": ONE, "sx": ONE, "x": ONE, "rx": thermal_relaxation_error(40, 30, 5)}
PAIRS = {"cx": TWO, "cz": TWO, "ecr": TWO, "swap": TANGLED, "rzz": TANGLED}


def random_circuit(seed: int, num_qubits: int = 4) -> QuantumCircuit:
    rng = np.random.default_rng(seed)
    parameters = [Parameter(f"p{i}") for i in range(6)]
    circuit = QuantumCircuit(num_qubits)
    for parameter in parameters:
        circuit.ry(parameter, int(rng.integers(num_qubits)))
    for _ in range(25):
        kind = rng.integers(8)
        a, b = (int(q) for q in rng.choice(num_qubits, 2, replace=False))
        p, q = rng.choice(6, 2, replace=False)
        angle = 2 * parameters[p] - 0.5 * parameters[q] + float(rng.normal())
        if kind == 0:
            circuit.rz(angle, a)
        elif kind == 1:
            circuit.rx(angle, a)
        elif kind == 2:
            circuit.sx(a)
        elif kind == 3:
            circuit.x(a)
        else:
            name = ("cx", "cz", "ecr", "swap")[kind - 4]
            getattr(circuit, name)(a, b)
    circuit.rzz(0.7, 1, 2)
    return circuit


def aer_probabilities(circuit: QuantumCircuit, model: NoiseModel, values: np.ndarray) -> np.ndarray:
    """Probabilities of all four qubits, one axis each: (N, q3, q2, q1, q0)."""
    saved = circuit.copy()
    saved.save_probabilities([0, 1, 2, 3])
    binds = {p: values[:, int(p.name[1:])].tolist() for p in circuit.parameters}
    simulator = AerSimulator(
        method="density_matrix", noise_model=model, max_parallel_threads=1, fusion_enable=False
    )
    result = simulator.run(saved, parameter_binds=[binds], shots=1).result()
    table = np.array([result.data(row)["probabilities"] for row in range(len(values))])
    return table.reshape(len(values), 2, 2, 2, 2)


@pytest.mark.parametrize("seed", range(3))
def test_noisy_states_equal_aer_density_matrices(seed: int) -> None:
    circuit = random_circuit(seed)
    model = NoiseModel(basis_gates=["rx", "ry", "rz", "sx", "x", *PAIRS])
    for name, error in (ERRORS | PAIRS).items():
        model.add_all_qubit_quantum_error(error, name)
    matrices = {
        name: transfer_matrix(PTM(SuperOp(error))) for name, error in (ERRORS | PAIRS).items()
    }
    gates = {}
    for step in circuit.data:
        if step.operation.name in matrices:
            where = tuple(circuit.find_bit(q).index for q in step.qubits)
            gates[step.operation.name, where] = matrices[step.operation.name]
    names = [f"p{i}" for i in reversed(range(6))]  # not in Qiskit's order
    values = np.random.default_rng(seed).uniform(-3, 3, (9, 6))  # one more than the lanes
    checked = [0, 7, 8]  # the ends of the first batch of lanes, and the second
    expected = aer_probabilities(circuit, model, values[checked][:, ::-1])
    for qubits in ((0, 1, 2, 3), (2,), (3, 0, 1)):
        program = PauliProgram.compile(circuit, qubits, names, InstructionErrors(gates, {}))
        order = [4 - qubit for qubit in reversed(qubits)]
        rest = tuple(axis for axis in range(1, 5) if axis not in order)
        marginal = expected.transpose([0, *order, *rest]).reshape(3, 2 ** len(qubits), -1)
        np.testing.assert_allclose(
            program.probabilities(values)[checked], marginal.sum(-1), atol=1e-12
        )


@pytest.mark.parametrize("seed", range(5))
def test_the_light_cone_keeps_everything_that_counts(seed: int) -> None:
    circuit = random_circuit(seed)
    values = np.random.default_rng(seed).uniform(-3, 3, 6)
    bound = circuit.assign_parameters({p: values[int(p.name[1:])] for p in circuit.parameters})
    for qubits in ([0], [3], [1, 2]):
        cone = light_cone(bound, qubits)
        expected = Statevector(bound).probabilities(qubits)
        np.testing.assert_allclose(Statevector(cone).probabilities(qubits), expected, atol=1e-12)


def test_the_light_cone_drops_what_does_not() -> None:
    circuit = QuantumCircuit(4)
    circuit.cx(0, 1)
    circuit.cx(2, 3)
    circuit.cx(1, 2)
    circuit.x(0)
    cone = light_cone(circuit, [1])
    assert cone.count_ops() == {"cx": 3}
    assert light_cone(circuit, [0]).count_ops() == {"cx": 1, "x": 1}


def ring(num_qubits: int) -> tuple[QuantumCircuit, tuple[str, ...]]:
    circuit = QuantumCircuit(num_qubits)
    names = []
    for layer in range(2):
        for qubit in range(num_qubits):
            names.append(f"w[{layer},{qubit}]")
            circuit.ry(Parameter(names[-1]), qubit)
        for qubit in range(num_qubits):
            circuit.cx(qubit, (qubit + 1) % num_qubits)
    return circuit, tuple(names)


def ring_work(num_qubits: int = 4, num_rows: int = 6) -> Workload:
    circuit, names = ring(num_qubits)
    values = np.random.default_rng(1).uniform(-3, 3, (num_rows, len(names)))
    pads = ["I"] * num_qubits
    observables = []
    for letters in ({0: "Z"}, {1: "Z", 2: "Z"}, {0: "X"}, {3: "Y", 1: "Y"}):
        label = pads.copy()
        for qubit, letter in letters.items():
            label[num_qubits - 1 - qubit] = letter
        observables.append(SparsePauliOp("".join(label)))
    return Workload(circuit, names, values, tuple(observables))


@pytest.mark.parametrize(
    "make",
    [
        lambda **kw: NoisyTarget(0.01, 0.05, 0.04, **kw),
        lambda **kw: CalibratedTarget("lima", **kw),
    ],
)
@pytest.mark.sampled
def test_exact_states_and_trajectories_agree(make: object) -> None:
    work = ring_work()
    exact = make(shots=10**9, seed=shifted(1), method=Method.PAULI).run(work)  # type: ignore[operator]
    random = make(shots=1000, seed=shifted(2), method=Method.TRAJECTORIES).run(work)  # type: ignore[operator]
    assert_means(random.values, exact.values, 1000, bias=3e-4)
    assert "trajectories" in " ".join(random.notes)
    assert "exact probabilities of the noisy state" in " ".join(exact.notes)


@pytest.mark.sampled
def test_a_calibration_equals_aer_with_the_whole_model() -> None:
    work = ring_work()
    target = CalibratedTarget("lima")
    prepared = target.prepare(work.circuit, [0, 1])
    assert prepared.noise is not None
    sampler = Sampler(prepared, work.parameters, Method.PAULI)
    mine = sampler.probabilities(work.values)
    # Oracle: Aer's model of the whole device, on the same circuit where the device has it.
    assert prepared.physical is not None
    backend = FakeLimaV2()
    isa = QuantumCircuit(5, 2)
    isa.compose(prepared.circuit, prepared.physical, inplace=True)
    isa.measure([prepared.physical[qubit] for qubit in prepared.measured], [0, 1])
    model = NoiseModel.from_backend(backend, readout_error=False)
    for qubit, values in enumerate(backend.properties().qubits):
        flips = {item.name: item.value for item in values}
        up, down = flips["prob_meas1_prep0"], flips["prob_meas0_prep1"]
        model.add_readout_error([[1 - up, up], [down, 1 - down]], [qubit])
    shots = 100_000
    binds = {p: work.named_values()[p.name].tolist() for p in isa.parameters}
    simulator = AerSimulator(method="density_matrix", noise_model=model)
    result = simulator.run(
        isa, parameter_binds=[binds], shots=shots, seed_simulator=shifted(3)
    ).result()
    counts = [result.get_counts(row) for row in range(work.num_samples)]
    shares = [
        [each.get(format(outcome, "02b"), 0) / shots for outcome in range(4)] for each in counts
    ]
    assert_shares(shares, mine, shots)


@pytest.mark.sampled
def test_what_the_exact_engine_does_not_cover_runs_as_trajectories() -> None:
    circuit = QuantumCircuit(2)
    circuit.ry(1.0, 0)
    angle = Parameter("w")
    circuit.rx(angle * angle, 0)  # not affine
    work = Workload(circuit, ("w",), [[0.5]], (SparsePauliOp("IZ"),))
    expected = 0.9**2 * np.cos(1.0) * np.cos(0.25)
    result = NoisyTarget(0.1, 0.1, shots=4000, seed=shifted(1)).run(work)
    assert_means(result.values, [[expected]], 4000)
    assert "trajectories" in " ".join(result.notes)
    with pytest.raises(UnsupportedCircuitError, match="affine"):
        NoisyTarget(0.1, 0.1, shots=4000, method=Method.PAULI).run(work)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda c: c.rxx(Parameter("w"), 0, 1), "parametrised 'rxx'"),
        (lambda c: c.u(Parameter("w"), 0, 0, 1), "parametrised 'u'"),
        (lambda c: c.ccx(0, 1, 2), "one or two qubits"),
        (lambda c: [c.cx(0, i) for i in range(1, 14)], "12 entangled qubits at a time"),
    ],
)
def test_circuits_outside_the_engine_are_named(build: object, text: str) -> None:
    circuit = QuantumCircuit(14)
    build(circuit)  # type: ignore[operator]
    with pytest.raises(UnsupportedCircuitError, match=text):
        PauliProgram.compile(circuit, range(14), ["w"], InstructionErrors({}, {}))


def test_many_idle_qubits_cost_nothing() -> None:
    circuit = QuantumCircuit(30)
    circuit.rx(0.5, range(30))
    circuit.cx(3, 17)
    target = NoisyTarget(0.1, 0.1)
    prepared = target.prepare(circuit, [29, 3])
    assert isinstance(prepared, PreparedCircuit)
    table = Sampler(prepared, ()).probabilities(np.zeros((3, 0)))
    single = (1 + 0.9 * np.cos(0.5)) / 2, (1 + 0.9 * 0.9 * np.cos(0.5)) / 2
    np.testing.assert_allclose(table[0, 0], single[0] * single[1], atol=1e-12)
    np.testing.assert_allclose(table[0, 1], (1 - single[0]) * single[1], atol=1e-12)
    np.testing.assert_array_equal(table[0], table[2])
