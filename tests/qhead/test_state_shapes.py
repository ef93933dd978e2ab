"""The shapes of a state by arithmetic, and states and options that are refused by them alone."""

import time

import numpy as np
import pytest

from qhead import InspiredHead, MLPHead, QuantumHead, ReducedMLPHead, TrainingOptions
from qhead.errors import HeadError, ModelError

ONCE = TrainingOptions(max_epochs=1)

HEADS = {
    "quantum": QuantumHead(num_qubits=2, connectivity=1, encoder_layers=1, training=ONCE),
    "projected": QuantumHead(
        num_qubits=4, num_encoders=2, connectivity=1, encoder_layers=1, encoder_qubits=3,
        reduction="random", readout="probabilities", num_measured=2, shared=False, center=True,
        training=ONCE,
    ),
    "no bias": QuantumHead(
        num_qubits=5, connectivity=1, encoder_layers=None, bias_amplitude=0, reading="B",
        num_layers=1, topology="full", num_measured=3, num_reuploads=3, training=ONCE,
    ),
    "linear": MLPHead(training=ONCE),
    "mlp": MLPHead(hidden=3, training=ONCE),
    "reduced": ReducedMLPHead(num_components=4, max_parameters=40, training=ONCE),
    "reduced linear": ReducedMLPHead(num_components=4, reduction="random", training=ONCE),
    "inspired": InspiredHead(num_units=4, training=ONCE),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_the_shapes_are_those_of_the_state(name):
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(30, 9)), np.arange(30) % 3
    head = HEADS[name].fit(features, labels)
    shapes = {key: tuple(tensor.shape) for key, tensor in head.state().items()}
    assert head.state_shapes(9, 3) == shapes


@pytest.mark.parametrize("name", HEADS)
def test_a_state_is_refused_before_anything_is_built(name, monkeypatch):
    head = HEADS[name]

    def built(*arguments):
        raise AssertionError("the module was built")

    monkeypatch.setattr(type(head), "build_module", built)
    with pytest.raises(ModelError, match="options changed"):
        head.restore({}, np.array([0, 1]), 10**12)


HUGE = [
    {"num_qubits": 1_000_000},
    {"num_qubits": 27},
    {"num_layers": 10_000},
    {"num_layers": 1000, "num_reuploads": 1000},
    {"num_reuploads": 1000, "num_layers": 30},
    {"connectivity": 10**9, "topology": "chain"},
    {"num_qubits": 26, "num_encoders": 1},
    {"num_qubits": 26, "num_encoders": 2, "connectivity": 25, "num_layers": 9, "topology": "full"},
    {"num_qubits": 12, "num_measured": 12, "readout": "probabilities"},
    {"encoder_qubits": 60},
    {"encoder_layers": 10**7},
    {"bias_amplitude": 10**400},
]


@pytest.mark.parametrize("options", HUGE, ids=str)
def test_options_beyond_all_measure_are_refused_at_once(options):
    start = time.perf_counter()
    with pytest.raises(HeadError, match="Expected"):
        QuantumHead(**options).validate_options()
    assert time.perf_counter() - start < 2


def test_encoders_beyond_all_measure_are_refused_at_once():
    head = QuantumHead(encoder_layers=1000, connectivity=3, num_qubits=24, num_encoders=12)
    with pytest.raises(HeadError, match=r"encoders of at most 100,000 weights"):
        head.fit(np.eye(9), np.arange(9) % 2)
