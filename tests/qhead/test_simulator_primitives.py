"""The exact primitives: what V2 estimators and samplers promise, and QML's networks over them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from contracts.sampling_bounds import assert_same_chance, shifted
from contracts.target_contract import SEED, TargetContract
from qiskit.circuit import ClassicalRegister, Parameter, QuantumCircuit, QuantumRegister
from qiskit.primitives import (
    BitArray,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.gradients import ParamShiftEstimatorGradient, ParamShiftSamplerGradient
from qiskit_machine_learning.neural_networks import EstimatorQNN, SamplerQNN

from hardware.targets import ExecutionTarget
from qhead.circuits import data_parameters, reuploading_circuit, weight_parameters
from qhead.errors import SimulationError
from qhead.simulator import (
    AdjointEstimatorGradient,
    AdjointSamplerGradient,
    ExactEstimator,
    ExactEstimatorQNN,
    ExactSampler,
    ExactTarget,
    ProbabilityArray,
)


class TestExactTarget(TargetContract):
    exact = True

    def make_target(self, seed: int | None = SEED) -> ExecutionTarget:
        return ExactTarget()


def ansatz() -> QuantumCircuit:
    a, b, c = Parameter("a"), Parameter("b"), Parameter("c")
    circuit = QuantumCircuit(2)
    circuit.ry(a, 0)
    circuit.cx(0, 1)
    circuit.rx(b, 1)
    circuit.ry(c, 0)
    return circuit


RNG = np.random.default_rng(4)
VALUES = RNG.normal(size=(5, 3))
PAULIS = ["ZZ", "XI", {"YX": 0.5, "II": 2.0}, SparsePauliOp(["IZ", "ZI"], [1, -2])]

ESTIMATOR_PUBS = {
    "one value": (ansatz(), "ZZ", VALUES[0]),
    "zip": (ansatz(), [*PAULIS, "IZ"], VALUES),
    "outer": (ansatz(), np.array(PAULIS, dtype=object)[:, None], VALUES),
    "by name": (ansatz(), ["ZI"], {"c": VALUES[:, 0], ("b", "a"): VALUES[:, 1:]}),
    "matrix": (ansatz(), [["ZZ"], ["XX"]], RNG.normal(size=(2, 3, 3))),
    "no parameters": (ansatz().assign_parameters(VALUES[0]), ["ZZ", "IX"]),
    "no parameter sets": (ansatz(), ["ZZ"], np.zeros((0, 3))),
}


@pytest.mark.parametrize("pub", ESTIMATOR_PUBS.values(), ids=ESTIMATOR_PUBS)
def test_estimator_agrees_with_qiskits(pub: tuple) -> None:
    ours = ExactEstimator().run([pub]).result()[0].data
    theirs = StatevectorEstimator().run([pub]).result()[0].data
    assert ours.evs.shape == theirs.evs.shape
    np.testing.assert_allclose(ours.evs, theirs.evs, atol=1e-12)
    assert ours.stds.shape == theirs.evs.shape
    assert not np.any(ours.stds)


def test_estimator_knows_projectors() -> None:
    zero, plus, right = (SparsePauliOp(["I", letter], [0.5, 0.5]) for letter in ("Z", "X", "Y"))
    one, left = SparsePauliOp(["I", "Z"], [0.5, -0.5]), SparsePauliOp(["I", "Y"], [0.5, -0.5])
    pairs = {
        "0Z": zero ^ SparsePauliOp("Z"),
        "+1": plus ^ one,
        "rl": right ^ left,
        "-I": SparsePauliOp(["II", "XI"], [0.5, -0.5]),
    }
    ours = ExactEstimator().run([(ansatz(), list(pairs), VALUES[0])]).result()[0].data.evs
    theirs = StatevectorEstimator().run([(ansatz(), list(pairs.values()), VALUES[0])])
    np.testing.assert_allclose(ours, theirs.result()[0].data.evs, atol=1e-12)


def test_estimator_keeps_pubs_apart_and_in_order() -> None:
    circuit = ansatz()
    other = ansatz()
    other.x(0)
    pubs = [
        (circuit, "ZZ", VALUES),
        (other, "ZZ", VALUES),
        (circuit, "ZZ", VALUES + 1),
        (circuit, "XZ", VALUES),
    ]
    result = ExactEstimator().run(pubs).result()
    expected = StatevectorEstimator().run(pubs).result()
    assert len(result) == 4
    for one, two in zip(result, expected, strict=True):
        np.testing.assert_allclose(one.data.evs, two.data.evs, atol=1e-12)


def test_estimator_meets_every_precision_and_says_which_was_asked() -> None:
    pub = (ansatz(), "ZZ", VALUES[0])
    coerced = EstimatorPub.coerce((*pub, 0.05))
    loose, tight = ExactEstimator().run([coerced, pub], precision=0.5).result()
    assert loose.data.evs == tight.data.evs
    assert loose.metadata["target_precision"] == 0.05
    assert tight.metadata["target_precision"] == 0.5


def test_estimator_job_is_done() -> None:
    job = ExactEstimator().run([(ansatz(), "ZZ", VALUES[0])])
    assert job.done()
    assert job.in_final_state()
    assert not job.running()
    assert not job.cancelled()


@pytest.mark.parametrize(
    "pub",
    [(ansatz(), "ZZ"), (ansatz(), "ZZZ", VALUES[0]), (ansatz(), "ZZ", VALUES[0, :2])],
    ids=["no values", "too many qubits", "too few values"],
)
def test_estimator_refuses_what_does_not_fit(pub: tuple) -> None:
    with pytest.raises(ValueError, match=r"."):
        ExactEstimator().run([pub])


def measured() -> QuantumCircuit:
    """Two registers, crossed, one bit of which nothing writes."""
    circuit = QuantumCircuit(QuantumRegister(3), ClassicalRegister(2, "one"))
    circuit.add_register(ClassicalRegister(9, "two"))
    circuit.ry(Parameter("a"), 0)
    circuit.cx(0, 2)
    circuit.rx(Parameter("b"), 1)
    circuit.measure([2, 1, 0], [1, 2, 10])
    return circuit


@pytest.mark.sampled
def test_sampler_agrees_with_qiskits() -> None:
    shots = 20_000
    values = np.random.default_rng(8).normal(size=(2, 3, 2))
    ours = ExactSampler(seed=shifted(1)).run([(measured(), values, shots)]).result()[0]
    theirs = StatevectorSampler(seed=shifted(2)).run([(measured(), values, shots)]).result()[0]
    for name in ("one", "two"):
        a, b = ours.data[name], theirs.data[name]
        assert isinstance(a, BitArray)
        assert (a.shape, a.num_bits, a.num_shots) == (b.shape, b.num_bits, b.num_shots)
        for place in np.ndindex(2, 3):
            one, two = a.get_int_counts(place), b.get_int_counts(place)
            outcomes = sorted(one.keys() | two.keys())
            pair = [[each.get(outcome, 0) for outcome in outcomes] for each in (one, two)]
            assert_same_chance(*pair, shots)
    joint = ours.join_data()
    assert joint.num_bits == 11
    # Registers keep their correlation: qubits 0 and 2 are equal, shot by shot.
    one, two = ours.data["one"].get_bitstrings((0, 0)), ours.data["two"].get_bitstrings((0, 0))
    assert all(x[0] == y[0] for x, y in zip(one, two, strict=True))


def test_sampler_is_reproducible_and_independent_between_rows() -> None:
    circuit = QuantumCircuit(1)
    circuit.h(0)
    circuit.measure_all()
    sampler = ExactSampler(seed=3)
    first = sampler.run([(circuit, np.zeros((2, 0)), 64)]).result()[0].data.meas
    again = ExactSampler(seed=3).run([(circuit, np.zeros((2, 0)), 64)]).result()[0].data.meas
    assert first == again
    assert first[0] != first[1]


def test_sampler_default_shots_and_those_of_run() -> None:
    circuit = QuantumCircuit(1)
    circuit.measure_all()
    sampler = ExactSampler(default_shots=7)
    assert sampler.run([circuit]).result()[0].data.meas.num_shots == 7
    assert sampler.run([circuit], shots=9).result()[0].data.meas.num_shots == 9
    assert sampler.run([(circuit, None, 11)], shots=9).result()[0].data.meas.num_shots == 11
    exact = ExactSampler(default_shots=None)
    assert isinstance(exact.run([circuit]).result()[0].data.meas, ProbabilityArray)
    assert isinstance(exact.run([circuit], shots=5).result()[0].data.meas, BitArray)


def test_exact_probabilities_by_outcome() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.ry(Parameter("a"), 1)
    circuit.measure([0, 1], [0, 1])
    data = ExactSampler(default_shots=None).run([(circuit, [[0.4], [1.0]])]).result()[0].data
    counts = data.c.get_counts(1)
    assert counts["10"] == pytest.approx(np.sin(0.5) ** 2)
    assert data.c.get_int_counts(0)[0] == pytest.approx(np.cos(0.2) ** 2)
    assert data.c.shape == (2,)
    with pytest.raises(SimulationError, match="place within shape"):
        data.c.get_counts()


def test_sampler_refuses_gates_after_a_measurement() -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    circuit.x(0)
    with pytest.raises(SimulationError, match="at the end only"):
        ExactSampler().run([circuit])
    with pytest.raises(SimulationError, match="no measurements"):
        ExactSampler().run([QuantumCircuit(1, 1)])


@pytest.mark.parametrize("num_observables", [1, 3])
@pytest.mark.parametrize("input_gradients", [True, False])
def test_estimator_network_has_the_gradients_of_parameter_shift(
    num_observables: int, input_gradients: bool
) -> None:
    circuit = reuploading_circuit(3, 0, 2, 2)
    operators = [SparsePauliOp("IIZ"), SparsePauliOp("ZXI"), SparsePauliOp(["IZI", "ZII"])]
    rng = np.random.default_rng(0)
    inputs, weights = rng.normal(size=(4, 3)), rng.normal(size=len(weight_parameters(circuit)))

    def network(estimator: object, gradient: object) -> EstimatorQNN:
        return EstimatorQNN(
            circuit=circuit,
            estimator=estimator,
            observables=operators[:num_observables],
            input_params=data_parameters(circuit),
            weight_params=weight_parameters(circuit),
            gradient=gradient,
            input_gradients=input_gradients,
        )

    ours = ExactEstimator()
    theirs = StatevectorEstimator()
    one = network(ours, AdjointEstimatorGradient(ours))
    two = network(theirs, ParamShiftEstimatorGradient(theirs))
    two._default_precision = 0.0
    np.testing.assert_allclose(
        one.forward(inputs, weights), two.forward(inputs, weights), atol=1e-9
    )
    for a, b in zip(one.backward(inputs, weights), two.backward(inputs, weights), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            # The shift rule's estimator may add noise of QML's default precision; exact here.
            np.testing.assert_allclose(a, b, atol=0.1)
    connector = TorchConnector(one, initial_weights=weights)
    x = torch.tensor(inputs, dtype=torch.float32, requires_grad=input_gradients)
    connector(x).sum().backward()
    assert connector.weight.grad is not None
    np.testing.assert_allclose(
        connector.weight.grad, one.backward(inputs, weights)[1].sum(axis=(0, 1)), atol=1e-5
    )


def test_sampler_network_has_the_gradients_of_parameter_shift() -> None:
    circuit = reuploading_circuit(3, 0, 1, 1)
    register = ClassicalRegister(2, "meas")
    circuit.add_register(register)
    circuit.measure([0, 2], register)
    rng = np.random.default_rng(0)
    inputs, weights = rng.normal(size=(3, 3)), rng.normal(size=len(weight_parameters(circuit)))

    def network(gradient: type) -> SamplerQNN:
        sampler = ExactSampler(default_shots=None)
        return SamplerQNN(
            circuit=circuit,
            sampler=sampler,
            input_params=data_parameters(circuit),
            weight_params=weight_parameters(circuit),
            interpret=int,
            output_shape=4,
            gradient=gradient(sampler),
            input_gradients=True,
        )

    one, two = network(AdjointSamplerGradient), network(ParamShiftSamplerGradient)
    np.testing.assert_allclose(one.forward(inputs, weights).sum(axis=1), 1.0)
    for a, b in zip(one.backward(inputs, weights), two.backward(inputs, weights), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_gradient_of_chosen_parameters_only() -> None:
    circuit = ansatz()
    estimator = ExactEstimator()
    gradient = AdjointEstimatorGradient(estimator)
    operator = SparsePauliOp("ZZ")
    whole = gradient.run([circuit], [operator], [VALUES[0]]).result().gradients[0]
    wanted = [circuit.parameters[2], circuit.parameters[0]]
    some = gradient.run([circuit], [operator], [VALUES[0]], [wanted]).result().gradients[0]
    np.testing.assert_array_equal(some, whole[[2, 0]])
    with pytest.raises(SimulationError, match="has not"):
        gradient.run([circuit], [operator], [VALUES[0]], [[Parameter("zz")]])
    with pytest.raises(SimulationError, match="one a circuit"):
        gradient.run([circuit], [operator], VALUES)


def test_gradient_of_mixed_circuits_and_observables_keeps_the_order() -> None:
    one, two = ansatz(), ansatz()
    two.h(1)
    operators = [SparsePauliOp("ZZ"), SparsePauliOp("XI")]
    circuits = [one, two, one, one]
    chosen = [operators[0], operators[0], operators[1], operators[0]]
    gradient = AdjointEstimatorGradient(ExactEstimator())
    result = gradient.run(circuits, chosen, VALUES[:4]).result().gradients
    for row in range(4):
        alone = gradient.run([circuits[row]], [chosen[row]], [VALUES[row]]).result().gradients[0]
        np.testing.assert_allclose(result[row], alone, atol=1e-12)


def networks(
    observables: list[SparsePauliOp], **options: bool
) -> tuple[ExactEstimatorQNN, EstimatorQNN]:
    """The short way and the stock one, of the same circuit and with simulators of their own."""
    circuit = reuploading_circuit(3, 0, 2, 2)
    made = []
    for kind in (ExactEstimatorQNN, EstimatorQNN):
        estimator = ExactEstimator()
        made.append(
            kind(
                circuit=circuit,
                estimator=estimator,
                observables=observables,
                input_params=data_parameters(circuit),
                weight_params=weight_parameters(circuit),
                gradient=AdjointEstimatorGradient(estimator),
                **options,
            )
        )
    return tuple(made)


@pytest.mark.parametrize("input_gradients", [True, False])
@pytest.mark.parametrize("shape", [(9, 3), (2, 4, 3), (1, 3), (3,)])
def test_the_short_way_gives_the_stock_networks_numbers_to_the_last_bit(
    shape: tuple[int, ...], input_gradients: bool
) -> None:
    observables = [
        SparsePauliOp("IIZ"),
        SparsePauliOp(["ZZI", "XXI", "III", "IYI", "ZZI"], [0.3, -1.1, 0.7, 0.2, 0.4]),
        SparsePauliOp(["XIZ", "IIZ"], [0.0, 0.5]),
    ]
    short, stock = networks(observables, input_gradients=input_gradients)
    rng = np.random.default_rng(3)
    inputs, weights = rng.normal(size=shape), rng.normal(size=stock.num_weights)
    for _ in range(2):  # what is prepared once serves again
        np.testing.assert_array_equal(
            short.forward(inputs, weights), stock.forward(inputs, weights), strict=True
        )
        for one, two in zip(
            short.backward(inputs, weights), stock.backward(inputs, weights), strict=True
        ):
            assert (one is None) == (two is None)
            if one is not None:
                np.testing.assert_array_equal(one, two, strict=True)
        weights = weights + 0.1


def test_another_estimator_is_asked_and_copies_compute_alike() -> None:
    short, _ = networks([SparsePauliOp("IIZ")], input_gradients=True)
    rng = np.random.default_rng(4)
    inputs, weights = rng.normal(size=(2, 3)), rng.normal(size=short.num_weights)
    values, gradients = short.forward(inputs, weights), short.backward(inputs, weights)
    other = copy.deepcopy(short)
    assert "_ready" not in vars(other)
    np.testing.assert_array_equal(other.forward(inputs, weights), values)
    other.estimator = Refusing()
    with pytest.raises(RuntimeError, match="asked"):
        other.forward(inputs, weights)
    short.gradient = ParamShiftEstimatorGradient(StatevectorEstimator())
    for one, two in zip(short.backward(inputs, weights), gradients, strict=True):
        assert not np.array_equal(one, two)
        np.testing.assert_allclose(one, two, atol=1e-12)


class Refusing(ExactEstimator):
    def run(self, pubs: object, *, precision: float | None = None) -> object:
        raise RuntimeError("asked")
