"""States and options that are refused without taking the memory that they ask for."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

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
def test_a_restored_head_goes_on_training_as_the_fitted_one(name):
    """All of a restored module holds numbers, none is shared with the state it came from."""
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(30, 9)), np.arange(30) % 3
    head = HEADS[name].fit(features, labels)
    state = head.state()
    again = type(head)(**head.get_params(deep=False)).restore(state, head.classes_, 9)
    gradients = []
    for module in (head.module_, again.module_):
        module.zero_grad()
        module(torch.tensor(features[:5], dtype=torch.float32)).square().sum().backward()
        assert not any(tensor.is_meta for tensor in module.state_dict().values())
        gradients.append({n: p.grad for n, p in module.named_parameters() if p.requires_grad})
        torch.optim.SGD(module.parameters(), lr=1.0).step()
    assert gradients[0].keys() == gradients[1].keys() != set()
    assert all(torch.equal(gradients[0][n], gradients[1][n]) for n in gradients[0])
    np.testing.assert_array_equal(again.logits(features), head.logits(features))
    assert all(
        torch.equal(state[n], t)
        for n, t in HEADS[name].restore(state, [0, 1, 2], 9).state().items()
    )


HOSTILE = [
    ("mlp", {}, 10**12),
    ("mlp", {}, 10**30),
    ("mlp", {"hidden": 2**9}, 2**20),
    ("mlp", {"hidden": 10**10}, 10**10),
    ("mlp", {"hidden": 10**30}, 4),
    ("reduced_mlp", {"num_components": 2**9}, 2**20),
    ("reduced_mlp", {"num_components": 10**10, "reduction": "random"}, 10**10),
    ("inspired", {"num_units": 2**15}, 2**15),
    ("quantum", {"encoder_qubits": 9, "reduction": "random"}, 2**20),
    ("quantum", {"encoder_qubits": 9}, 2**20),
    ("quantum", {}, 10**30),
]

MEASURE = """
import json, resource, sys, torch
from qhead.errors import InputError
from qhead.heads import make_head

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB

make_head("quantum").build_module(9, 2, None)  # imports and compiled code
for kind, options, num_features in json.loads(sys.stdin.read()):
    before = peak()
    try:
        make_head(kind, **options).restore({"weight": torch.zeros(1)}, [0, 1], num_features)
    except InputError as error:
        print(peak() - before, str(error).count(chr(10)))
"""


def test_options_that_ask_for_gigabytes_get_none():
    """Options of 2 GiB and more beside a file of one number: refused in less than 200 MB."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURE], input=json.dumps(HOSTILE), capture_output=True, text=True
    )
    assert run.stderr == ""
    lines = [tuple(map(int, line.split())) for line in run.stdout.splitlines()]
    assert len(lines) == len(HOSTILE)
    assert all(kilobytes < 200_000 and breaks == 0 for kilobytes, breaks in lines), lines


def test_a_state_of_other_options_is_told_by_its_tensors():
    state = MLPHead(hidden=3, training=ONCE).fit(np.eye(4), [0, 1, 0, 1]).state()
    with pytest.raises(ModelError, match=r"do not fit the head's options.*size mismatch for 0\."):
        MLPHead(hidden=4).restore(state, [0, 1], 4)


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
