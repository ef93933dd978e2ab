"""Defaults that follow the data: measured qubits, start, epochs, validation, penalty."""

import warnings

import numpy as np
import pytest
import torch
from contracts.head_contract import clusters
from qiskit.quantum_info import Statevector
from sklearn.linear_model import LogisticRegression
from torch import nn

from qhead.circuits import (
    data_parameters,
    readout_observables,
    reuploading_circuit,
    weight_parameters,
)
from qhead.errors import HeadError
from qhead.heads import QuantumHead, TorchHead
from qhead.heads.quantum import ReadoutWarning
from qhead.heads.step import initial_weights
from qhead.training import TrainingOptions, train

QUICK = TrainingOptions(max_epochs=1, batch_size=16)
#: What the first edition recorded of its default head.
FIRST_EDITION = {
    "num_qubits": 4, "num_layers": 0, "connectivity": 3, "num_reuploads": 2, "num_encoders": 1,
    "topology": "ring", "shared": True, "reading": "A", "num_measured": 1,
    "readout": "expectations", "encoder_qubits": None, "encoder_layers": 10, "reduction": None,
    "bias_amplitude": 3.0, "center": False, "angle_scale": 3.141592653589793,
    "initial_spread": 0.1, "training": None, "seed": 0,
}  # fmt: skip


def quick(**options) -> QuantumHead:
    return QuantumHead(**{"encoder_layers": 0, "training": QUICK, **options})


def shapes_of(head, num_features, num_classes):
    with torch.device("meta"):
        state = head.build_module(num_features, num_classes, None).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


@pytest.mark.parametrize("num_qubits", range(1, 7))
def test_the_identity_start_hands_each_angle_on(num_qubits):
    circuit = reuploading_circuit(num_qubits, 0, 1, 1)
    angles = np.random.default_rng(num_qubits).uniform(-np.pi, np.pi, num_qubits)
    weights = weight_parameters(circuit)
    generator = torch.Generator().manual_seed(0)
    start = initial_weights(
        len(weights), num_qubits, identity=True, spread=0.0, generator=generator
    )
    values = dict(zip([*data_parameters(circuit), *weights], [*angles, *start], strict=True))
    state = Statevector(circuit.assign_parameters(values))
    observables = readout_observables("expectations", num_qubits, num_qubits)
    found = [state.expectation_value(z).real for z in observables]
    np.testing.assert_allclose(np.abs(found), np.abs(np.sin(angles)), atol=1e-6)


@pytest.mark.parametrize(
    ("classes", "readout", "qubits", "measured"),
    [
        (2, "expectations", 4, 1),
        (3, "expectations", 4, 2),
        (6, "expectations", 5, 5),
        (40, "expectations", 10, 10),
        (6, "probabilities", 4, 3),
    ],
)
def test_qubits_follow_the_number_of_classes(classes, readout, qubits, measured):
    head = quick(readout=readout)
    shapes = shapes_of(head, 384, classes)
    outputs = 2**measured if readout == "probabilities" else measured
    assert shapes["readout.weight"] == (classes, outputs)
    assert shapes["step.weight"] == (4 * qubits,)


def test_the_default_head_for_six_classes_is_no_larger_than_the_papers():
    shapes = shapes_of(QuantumHead(), 384, 6)
    weights = ("encoders.0.weight", "step.weight", "readout.weight", "readout.bias")
    assert sum(np.prod(shapes[name]) for name in weights) <= 886


def test_a_fitted_head_measures_what_its_classes_need():
    X, y = clusters(40, 1, classes=4)
    head = quick().fit(X, y)
    assert (head.num_qubits_, head.num_measured_, len(head.observables)) == (4, 3, 3)
    assert head.circuit.num_qubits == head.workload(X).circuit.num_qubits == 4
    again = TorchHead.from_config(head.config()).restore(head.state(), head.classes_, 6)
    np.testing.assert_array_equal(again.logits(X), head.logits(X))


def test_too_few_measured_qubits_are_warned_about():
    X, y = clusters(40, 1, classes=5)
    with pytest.warns(ReadoutWarning, match=r"2 measured qubit\(s\) have 4 joint values.*5 cl"):
        narrow = quick(num_measured=2).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(num_measured=3).fit(X, y)
        # A model that is there already is opened without a remark.
        quick(num_measured=2).restore(narrow.state(), narrow.classes_, 6)


def test_identity_is_refused_where_the_circuit_cannot_be_it():
    with pytest.raises(HeadError, match="start of 'identity' needs topology='ring'"):
        quick(start="identity", topology="chain").fit(*clusters(20, 1))
    with pytest.raises(HeadError, match="start to be one of"):
        quick(start="warm").fit(*clusters(20, 1))


def test_fewer_rows_than_components_leave_the_others_empty():
    X = np.random.default_rng(0).normal(size=(10, 200)).astype(np.float32)
    head = quick(encoder_qubits=6).fit(X, np.arange(10) % 2)
    projection = head.module_.amplitudes.projection.numpy()
    assert projection.shape == (200, 63)
    # Ten centred rows span nine axes, which lose nothing of them.
    assert np.count_nonzero(np.linalg.norm(projection, axis=0)) == 9
    centred = X - X.mean(axis=0)
    np.testing.assert_allclose(centred @ projection @ projection.T, centred, atol=1e-4)


def test_a_head_of_the_first_edition_is_restored_as_it_was():
    head = TorchHead.from_config({"kind": "quantum", "options": FIRST_EDITION})
    shapes = shapes_of(head, 384, 2)
    assert shapes["encoders.0.weight"] == (306,)
    assert shapes["step.weight"] == (32,)
    assert (head.encoder_connectivity, head.start) == (3, "random")
    assert "amplitudes.projection" not in shapes
    # Six classes on one qubit, as the first edition trained them: opened, not refused.
    assert shapes_of(head, 384, 6)["readout.weight"] == (6, 1)


@pytest.mark.parametrize(
    ("options", "total", "effective"),
    [
        (FIRST_EDITION, 342, 336),
        (
            {
                **FIRST_EDITION,
                "num_qubits": 10,
                "connectivity": 4,
                "num_encoders": 2,
                "encoder_layers": 7,
            },
            698,
            678,
        ),
    ],
)
def test_effective_parameters_are_those_with_a_derivative(options, total, effective):
    head = TorchHead.from_config({"kind": "quantum", "options": options})
    head.training = QUICK
    rng = np.random.default_rng(3)
    X = rng.normal(size=(24, 384)).astype(np.float32)
    head.fit(X, np.arange(24) % 2)
    assert (head.num_parameters, head.num_effective_parameters) == (total, effective)
    assert head.summary().num_effective_parameters == effective
    with torch.no_grad():  # a generic point, where no derivative vanishes by chance
        for parameter in head.module_.parameters():
            parameter.copy_(torch.tensor(rng.uniform(-3, 3, parameter.shape)))
    moved = [torch.zeros_like(p) for p in head.module_.parameters()]
    for row in range(6):
        head.module_.zero_grad()
        head.module_(torch.tensor(X[row : row + 1]))[0, 0].backward()
        for most, parameter in zip(moved, head.module_.parameters(), strict=True):
            most.copy_(torch.maximum(most, parameter.grad.abs()))
        head.module_.zero_grad()
        head.module_(torch.tensor(X[row : row + 1]))[0, 1].backward()
        for most, parameter in zip(moved, head.module_.parameters(), strict=True):
            most.copy_(torch.maximum(most, parameter.grad.abs()))
    assert sum(int((most > 1e-6).sum()) for most in moved) == effective


class Linear(nn.Module):
    """A read-out on nothing but the features."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.readout = nn.Linear(num_features, num_classes)
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.readout(x)


@pytest.mark.parametrize("ridge", [0.5, 4.0])
def test_the_ridge_is_that_of_logistic_regression(ridge):
    X, y = clusters(60, 1, classes=3)
    weight = np.random.default_rng(1).integers(1, 4, 60)
    weight = weight / weight.mean()  # only ratios count
    module = Linear(X.shape[1], 3)
    options = TrainingOptions(learning_rate=0.03, max_epochs=1500, batch_size=60, ridge=ridge)
    train(
        module, torch.tensor(X), torch.tensor(y), None, options, seed=0, num_classes=3,
        sample_weight=torch.tensor(weight, dtype=torch.float32),
    )  # fmt: skip
    expected = LogisticRegression(C=1 / ridge, tol=1e-8, max_iter=5000).fit(X, y, weight)
    np.testing.assert_allclose(module.readout.weight.detach(), expected.coef_, atol=2e-3)


def test_the_readout_has_a_learning_rate_of_its_own():
    X, y = clusters(32, 1)
    head = quick(
        training=TrainingOptions(
            learning_rate=0.02, readout_learning_rate=1e-9, max_epochs=2, batch_size=16
        )
    )
    before = head.build_module(6, 2, X).state_dict()
    after = head.fit(X, y).state()
    moved = {name: float((after[name] - before[name]).abs().max()) for name in after}
    assert moved["encoders.0.weight"] > 1e-3
    assert moved["readout.weight"] < 1e-6
    with pytest.raises(HeadError, match="readout_learning_rate"):
        TrainingOptions(readout_learning_rate=-0.1)


def test_the_circuit_has_a_learning_rate_of_its_own():
    X, y = clusters(32, 1)

    def moved(**options):
        training = TrainingOptions(
            learning_rate=0.02, max_epochs=1, batch_size=64, validation_fraction=0.0, ridge=0.0,
            circuit_learning_rate=options.pop("circuit_learning_rate", None),
        )  # fmt: skip
        head = quick(training=training, **options)
        before = head.build_module(6, 2, X).state_dict()["step.weight"]
        return float((head.fit(X, y).state()["step.weight"] - before).abs().max())

    # The first step of Adam is the learning rate, whatever the gradient.
    assert moved() == pytest.approx(0.002, rel=1e-2)
    assert moved(start="random") == pytest.approx(0.02, rel=1e-2)
    assert moved(circuit_learning_rate=0.05) == pytest.approx(0.05, rel=1e-2)
    assert moved(circuit_learning_rate=0.0) == 0


def test_epochs_and_choice_follow_the_number_of_samples():
    options = TrainingOptions()
    few, many = options.resolved(32, 0, 2), options.resolved(6400, 960, 3)
    assert (few.max_epochs, many.max_epochs) == (400, 40)  # of 1 and of 100 steps
    assert (few.monitor, options.resolved(32, 49, 2).monitor, many.monitor) == (
        "last",
        "last",
        "loss",
    )
    assert [options.held_back_fraction(n) for n in (32, 333, 334)] == [0.0, 0.0, 0.15]
    assert (few.ridge, many.ridge) == (10.0, 1.0)
    chosen = TrainingOptions(max_epochs=3, monitor="accuracy", validation_fraction=0.5, ridge=2.0)
    assert chosen.resolved(32, 5, 2) == chosen
    assert chosen.held_back_fraction(10) == 0.5


def test_a_small_validation_set_chooses_no_epoch():
    X, y = clusters(40, 1)
    validation = clusters(10, 2)
    wrong = (validation[0], 1 - validation[1])  # every step makes it worse
    training = TrainingOptions(learning_rate=0.1, max_epochs=8, batch_size=16)
    assert quick(training=training).fit(X, y, validation=wrong).best_epoch_ == 8
    chosen = TrainingOptions(learning_rate=0.1, max_epochs=8, batch_size=16, monitor="loss")
    assert quick(training=chosen).fit(X, y, validation=wrong).best_epoch_ < 8
