"""The quantum head: the contract of all heads, and what only it has."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from contracts.head_contract import NUM_FEATURES, HeadContract, clusters, equal_states
from qiskit.quantum_info import Operator, Statevector

from hardware.errors import UnknownTargetError
from qhead.circuits import ansatz, num_ansatz_parameters
from qhead.errors import HeadError
from qhead.heads import QuantumHead, TorchHead
from qhead.heads.amplitudes import AmplitudeMap
from qhead.simulator import ExactTarget
from qhead.targets import resolve_target
from qhead.training import TrainingOptions

QUICK = TrainingOptions(learning_rate=0.05, max_epochs=2, batch_size=16)


SMALL = {"num_qubits": 3, "connectivity": 2, "encoder_layers": 0, "training": QUICK}


def small(**options) -> QuantumHead:
    return QuantumHead(**{**SMALL, **options})


class TestExpectationsHead(HeadContract):
    training = TrainingOptions(learning_rate=0.1, max_epochs=12, batch_size=16)

    def make_head(self, training: TrainingOptions, seed: int) -> TorchHead:
        return small(training=training, seed=seed)


class TestTwoEncodersManyOutputs(HeadContract):
    training = TrainingOptions(learning_rate=0.1, max_epochs=12, batch_size=16)

    def make_head(self, training: TrainingOptions, seed: int) -> TorchHead:
        return small(
            num_qubits=4, num_encoders=2, num_measured=2, topology="chain", center=True,
            shared=False, training=training, seed=seed,
        )  # fmt: skip


class TestProbabilitiesHead(HeadContract):
    training = TrainingOptions(learning_rate=0.1, max_epochs=12, batch_size=16)

    def make_head(self, training: TrainingOptions, seed: int) -> TorchHead:
        return small(readout="probabilities", num_measured=2, training=training, seed=seed)


@pytest.fixture(scope="module")
def fitted() -> QuantumHead:
    return small(num_measured=2).fit(*clusters(48, seed=1))


@pytest.mark.parametrize("readout", ["expectations", "probabilities"])
@pytest.mark.parametrize("shared", [True, False])
def test_logits_through_a_target_are_those_of_the_module(readout: str, shared: bool) -> None:
    head = small(readout=readout, num_measured=2, shared=shared).fit(*clusters(48, seed=1))
    X, _ = clusters(10, seed=2)
    result = head.expectations(X, ExactTarget())
    assert result.values.shape == (10, 2 if readout == "expectations" else 4)
    np.testing.assert_allclose(head.logits_from(result.values), head.logits(X), atol=1e-5)
    if readout == "probabilities":
        np.testing.assert_allclose(result.values.sum(axis=1), 1, atol=1e-12)


def test_encoder_is_the_circuit_on_the_amplitudes(fitted: QuantumHead) -> None:
    X, _ = clusters(5, seed=3)
    module = fitted._quantum_module()
    with torch.no_grad():
        amplitudes = module.amplitudes(torch.tensor(X)).numpy().astype(float)
        angles = module.angles(torch.tensor(X)).numpy()
    circuit = ansatz(3, 0, 2)
    weights = module.encoders[0].weight.detach().numpy().astype(float)
    unitary = Operator(
        circuit.assign_parameters(dict(zip(circuit.parameters, weights, strict=True)))
    )
    for row in range(5):
        assert np.linalg.norm(amplitudes[row]) == pytest.approx(1, abs=1e-6)
        state = Statevector(amplitudes[row] / np.linalg.norm(amplitudes[row])).evolve(unitary)
        expected = [p[0] - p[1] for p in (state.probabilities([q]) for q in range(3))]
        np.testing.assert_allclose(angles[row], math.pi * np.array(expected), atol=1e-5)


def test_amplitudes_hold_the_embedding_the_bias_and_nothing_else() -> None:
    X = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 5.0]], np.float32)
    made = AmplitudeMap(
        3, X, num_qubits=3, bias_amplitude=2.0, center=False, reduction=None,
        generator=torch.Generator(),
    )  # fmt: skip
    rows = made(torch.tensor(X)).numpy()
    expected = np.array([[0.6, 0.8, 0, 2, 0, 0, 0, 0], [0, 0, 1, 2, 0, 0, 0, 0]]) / math.sqrt(5)
    np.testing.assert_allclose(rows, expected, atol=1e-6)


def test_gradient_reaches_the_embedding(fitted: QuantumHead) -> None:
    """So that the body can be trained as well."""
    X, _ = clusters(3, seed=4)
    module = fitted._quantum_module()
    embeddings = torch.tensor(X, requires_grad=True)
    module(embeddings)[:, 0].sum().backward()
    assert embeddings.grad is not None
    step = 1e-2
    for row, column in ((0, 0), (1, 3), (2, 5)):
        values = []
        for sign in (1, -1):
            moved = X.copy()
            moved[row, column] += sign * step
            values.append(module(torch.tensor(moved))[row, 0].item())
        numeric = (values[0] - values[1]) / (2 * step)
        assert embeddings.grad[row, column].item() == pytest.approx(numeric, abs=5e-3)


def test_without_a_bias_amplitude_the_head_is_even() -> None:
    """⟨Z⟩ is a quadratic form: without the constant, x and -x cannot be told apart."""
    X, y = clusters(48, seed=1)
    even = small(bias_amplitude=0.0).fit(X, y)
    np.testing.assert_allclose(even.logits(X), even.logits(-X), atol=1e-4)
    odd = small().fit(X, y)
    assert np.abs(odd.logits(X) - odd.logits(-X)).max() > 0.05


def test_counts() -> None:
    head = QuantumHead(
        num_qubits=14, num_layers=4, connectivity=4, num_encoders=2, encoder_qubits=7,
        encoder_layers=None, encoder_connectivity=4, num_reuploads=2, num_measured=1,
        training=TrainingOptions(max_epochs=1, batch_size=8),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    head.fit(rng.normal(size=(8, 100)), np.arange(8) % 2)
    summary = head.summary()
    assert (summary.num_parameters, summary.num_effective_parameters) == (886, 872)
    assert summary.num_qubits == 14
    assert summary.num_two_qubit_gates == 3 * 14 * 4 * 5
    assert summary.depth == head.circuit.depth()


def test_gates_that_noise_acts_on_are_those_that_the_summary_counts() -> None:
    X, y = clusters(16, seed=1)
    head = QuantumHead(topology="chain", training=TrainingOptions(max_epochs=1)).fit(X, y)
    summary = head.summary()
    rehearsed = head.expectations(X[:2], "noisy:0,0.01:16")
    (note,) = (n for n in rehearsed.notes if "errors attached" in n)
    assert (
        f"{summary.num_two_qubit_gates_in_cone} of {summary.num_two_qubit_gates_in_cone} cx" in note
    )
    assert summary.num_two_qubit_gates_in_cone < summary.num_two_qubit_gates
    assert str(summary.num_two_qubit_gates_in_cone) in summary.two_qubit_gates


@pytest.mark.parametrize("reduction", ["pca", "random"])
def test_reduction_is_fixed_by_the_training_embeddings_and_restored(reduction: str) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 20)), np.arange(40) % 2
    head = small(encoder_qubits=3, reduction=reduction).fit(X, y)
    assert head.module_.amplitudes.projection.shape == (20, 7)
    again = small(encoder_qubits=3, reduction=reduction)
    again.restore(head.state(), head.classes_, 20)
    np.testing.assert_array_equal(head.logits(X), again.logits(X))


def test_an_embedding_that_does_not_fit_is_never_cut() -> None:
    X, y = np.random.default_rng(0).normal(size=(40, 20)), np.arange(40) % 2
    with pytest.raises(HeadError, match="at most 7 numbers for encoder_qubits=3"):
        small(encoder_qubits=3, reduction=None).fit(X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_qubits": 3, "num_encoders": 2}, "multiple of num_encoders"),
        ({"num_measured": 4}, "num_measured"),
        ({"readout": "probability"}, "Did you mean 'probabilities'"),
        ({"reduction": "cut"}, "reduction"),
        ({"bias_amplitude": -1.0}, "bias_amplitude"),
        ({"angle_scale": 0.0}, "angle_scale"),
        ({"initial_spread": math.nan}, "initial_spread"),
        ({"center": True, "bias_amplitude": 0.0}, "bias_amplitude above 0"),
        ({"encoder_qubits": 2}, "encoder_qubits of at least 3|at most 3 numbers"),
        ({"encoder_layers": -1}, "encoder_layers"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(HeadError, match=message):
        small(**options).fit(*clusters(24, seed=0))


def test_zero_embeddings_need_a_bias_amplitude() -> None:
    X, y = clusters(24, seed=0)
    X[3] = 0
    with pytest.raises(HeadError, match="not zero"):
        small(bias_amplitude=0.0).fit(X, y)


def test_workload_names_its_columns(fitted: QuantumHead) -> None:
    X, _ = clusters(4, seed=0)
    work = fitted.workload(X)
    assert work.parameters[:3] == ("x[0]", "x[1]", "x[2]")
    assert work.values.shape == (4, 3 + 2 * num_ansatz_parameters(3, 0, 2))
    assert len(np.unique(work.values[:, 3:], axis=0)) == 1


def test_a_fitted_head_can_be_sent_to_another_process(fitted: QuantumHead) -> None:
    """As joblib does within scikit-learn's searches."""
    copy = pickle.loads(pickle.dumps(fitted))
    X, _ = clusters(4, seed=0)
    np.testing.assert_array_equal(copy.logits(X), fitted.logits(X))
    assert equal_states(copy, fitted)


def test_initial_angles_are_small_and_seeded() -> None:
    head = small(seed=5)
    module = head.build_module(NUM_FEATURES, 2, None)
    weights = module.step.weight.detach().numpy()
    assert 0 < np.abs(weights).max() < 0.5
    other = small(seed=6).build_module(NUM_FEATURES, 2, None)
    assert not torch.equal(module.step.weight, other.step.weight)


# Targets by specification.


def test_every_prediction_takes_a_specification():
    X, y = np.eye(6, NUM_FEATURES, dtype=np.float32), np.arange(6) % 2
    head = small(seed=3).fit(X, y)
    target = resolve_target("shots:256", seed=3)
    for name in ("logits", "decision_function", "predict_proba", "predict"):
        method = getattr(head, name)
        np.testing.assert_array_equal(method(X, target="shots:256"), method(X, target=target))
        np.testing.assert_array_equal(method(X, target="exact"), method(X))
    values = head.expectations(X, "shots:256").values
    np.testing.assert_array_equal(values, head.expectations(X, target).values)
    assert np.abs(values - head.expectations(X, "exact").values).max() > 0
    for bad in ("shot:256", "shots:none", 7):
        with pytest.raises(UnknownTargetError):
            head.predict_proba(X, target=bad)
