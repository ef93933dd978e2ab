"""Options and labels that cannot be used fail early, by their own names; memory is bounded."""

import re
import tracemalloc

import numpy as np
import pytest

from qhead.classifier import TextClassifier
from qhead.data import LabelledTexts, few_shot_split, holdout_split
from qhead.errors import DataError, HeadError
from qhead.heads import MLPHead, QuantumHead, make_head
from qhead.heads.base import held_out
from qhead.heads.inference import QuantumInference
from qhead.training import TrainingOptions

MIXED = ([1, "x"], ["x", 1], [1, True], np.array([1, "x"], dtype=object), (2, "2", 2))


@pytest.mark.parametrize("labels", MIXED, ids=repr)
def test_labels_of_two_kinds_are_refused(labels, toy_model):
    n = len(labels)
    X = np.random.default_rng(1).normal(size=(n, 4))
    with pytest.raises(HeadError, match=r"one kind, .* got .*an integer \(\d\)"):
        MLPHead().fit(X, labels)
    with pytest.raises(DataError, match=r"one kind, .* got .*an integer \(\d\)"):
        LabelledTexts(("good", "bad", "fine")[:n], labels, "here")
    model = TextClassifier(str(toy_model), MLPHead(training=TrainingOptions(max_epochs=1)))
    with pytest.raises(DataError, match="one kind"):
        model.fit(["good", "bad", "fine"][:n], labels)
    model.fit(["good", "bad"], ["1", "x"])
    with pytest.raises(DataError, match="one kind"):
        model.score(["good", "bad", "fine"][:n], labels)
    with pytest.raises(DataError, match="one kind"):
        model.evaluate(["good", "bad", "fine"][:n], labels)


@pytest.mark.parametrize(
    "labels", [[1, 2], ["1", "2"], np.array([1, 2], np.int8), [np.int64(1), 2]]
)
def test_labels_of_one_kind_keep_it(labels):
    kind = "str" if isinstance(labels[0], str) else "int"
    assert type(LabelledTexts(("a", "b"), labels, "here").labels.tolist()[0]).__name__ == kind


def test_reading_b_names_the_layers_that_it_lacks():
    with pytest.raises(HeadError, match=r"num_layers of at least 1 with reading='B'.*got 0"):
        make_head("quantum", reading="B")
    with pytest.raises(HeadError, match="encoder_layers of at least 1 with reading='B'"):
        make_head("quantum", reading="B", num_layers=1, encoder_layers=0)
    make_head("quantum", reading="B", num_layers=1)


CASES = [
    (
        {"num_qubits": 4, "encoder_connectivity": 3},
        3,
        r"encoder_connectivity below 2, .* encoder's register .* 3 ",
    ),
    (
        {"num_qubits": 4, "num_encoders": 2, "encoder_qubits": 3, "reduction": None},
        100,
        r"at most 7 numbers for encoder_qubits=3",
    ),
]


@pytest.mark.parametrize(("options", "width", "message"), CASES)
def test_what_does_not_fit_the_embeddings_is_said_before_anything_is_embedded(
    options, width, message
):
    class Encoder:
        dimension = width

        def encode(self, texts, progress=None):
            raise AssertionError("embedded")

    options = {"num_encoders": 4} | options if width == 3 else options
    model = TextClassifier(Encoder(), QuantumHead(**options))
    with pytest.raises(HeadError, match=message):
        model.fit(["a", "b"], [0, 1])
    rows = np.random.default_rng(0).normal(size=(8, width))
    with pytest.raises(HeadError, match=message):
        QuantumHead(**options).fit(rows, np.arange(8) % 2)


def test_encoder_qubits_that_feed_too_few_are_named():
    with pytest.raises(HeadError, match=r"encoder_qubits of at least 4, .* got 2"):
        make_head("quantum", num_qubits=4, encoder_qubits=2)


def test_encoders_too_large_for_memory_are_refused_before_they_take_it():
    """Of 26 qubits one state in float32 is 256 MiB; none is made."""
    X, y = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32), np.arange(64) % 2
    tracemalloc.start()
    for qubits in (24, 26):
        with pytest.raises(HeadError, match="encoder_qubits to be an integer from 1 to 23"):
            QuantumHead(encoder_qubits=qubits, encoder_layers=0).fit(X, y)
    with pytest.raises(HeadError, match=r"at most 4 GiB .* got 12 GiB for 64 rows on 23"):
        QuantumHead(encoder_qubits=23, encoder_layers=0, num_layers=0).fit(X, y)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_rows_are_evaluated_in_parts_that_fit(monkeypatch):
    """The bound is lowered, so that sixteen rows are eight too many; the values do not change."""
    X, y = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32), np.arange(40) % 2
    options = TrainingOptions(max_epochs=1, batch_size=8)
    head = QuantumHead(encoder_qubits=6, encoder_layers=0, training=options).fit(X, y)
    before = head.logits(X)
    sizes = []
    module = head.module_
    for owner in (type(module), QuantumInference):  # of training, and of everything after it

        def spy(self, rows, angles=owner.angles):
            sizes.append(len(rows))
            return angles(self, rows)

        monkeypatch.setattr(owner, "angles", spy)
    module.max_rows = 16
    np.testing.assert_allclose(head.logits(X), before, atol=1e-12)
    assert sizes == [8] * 5
    monkeypatch.setattr("qhead.heads.inference._CHUNK_BYTES", 4 * 2**6 * 6 * 10)
    sizes.clear()
    validation = QuantumHead(encoder_qubits=6, encoder_layers=0, training=options)
    validation.fit(X[:8], y[:8], validation=(X, y))
    assert validation.module_.max_rows == 10
    assert sizes == [8, 10, 10, 10, 10]


@pytest.mark.parametrize("sizes", [(256, 256), (7, 11, 30), (3, 3, 3, 50), (1, 9)])
@pytest.mark.parametrize("fraction", [0.15, 0.2, 0.33])
def test_every_stratified_split_holds_out_as_many(sizes, fraction):
    """256 + 256 at 0.15 are 77, as in the paper; rounding class by class gave 76."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    by_head = int(held_out(labels, fraction, np.random.default_rng(0)).sum())
    if sizes == (256, 256) and fraction == 0.15:
        assert by_head == 77
    if min(sizes) > 1:
        split = holdout_split(labels, validation_fraction=fraction, test_fraction=0.0, seed=0)
        assert by_head == len(split.validation)
        if len(set(sizes)) == 1:
            few = few_shot_split(labels, per_class=sizes[0], validation_fraction=fraction, seed=0)
            assert by_head == len(few.validation)


def test_messages_are_sentences():
    with pytest.raises(HeadError) as info:
        make_head("quantum", reading="B")
    assert re.fullmatch(r"[A-Z].*\.", str(info.value))
