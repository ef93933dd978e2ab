"""Sample weights: what a weight means is what repeating the sample means."""

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.neighbors import KNeighborsClassifier

from qhead.classifier import TextClassifier
from qhead.errors import HeadError
from qhead.heads import (
    InspiredHead,
    MLPHead,
    QuantumHead,
    ReducedMLPHead,
    logistic_regression,
    svc,
)
from qhead.training import TrainingOptions

# One batch of all samples, none held back: the order in which they come does not matter.
# No ridge: what that is to the loss depends on the number of samples.
FULL = TrainingOptions(learning_rate=0.02, max_epochs=6, batch_size=1000, ridge=0.0)
BALANCED = TrainingOptions(**{**FULL.to_dict(), "class_weight": "balanced"})
REGISTER = {"num_qubits": 3, "connectivity": 2, "encoder_layers": 1, "num_measured": 3}

HEADS = {
    "linear": lambda training: MLPHead(training=training),
    "mlp": lambda training: MLPHead(hidden=5, training=training),
    "inspired": lambda training: InspiredHead(num_units=4, training=training),
    "pca": lambda training: ReducedMLPHead(num_components=3, training=training),
    "random": lambda training: ReducedMLPHead(
        reduction="random", num_components=3, training=training
    ),
    "quantum": lambda training: QuantumHead(**REGISTER, training=training),
    "quantum, centred": lambda training: QuantumHead(**REGISTER, center=True, training=training),
    "quantum, pca": lambda training: QuantumHead(
        **REGISTER, encoder_qubits=3, reduction="pca", training=training
    ),
}


def problem(n=60, num_features=9, num_classes=3):
    rng = np.random.default_rng(5)
    labels = np.arange(n) % num_classes
    X = rng.normal(size=(n, num_features)) + np.eye(num_classes, num_features)[labels] + 0.5
    return X.astype(np.float32), labels, rng.integers(0, 4, size=n)


@pytest.mark.parametrize("training", [FULL, BALANCED], ids=["plain", "balanced"])
@pytest.mark.parametrize("head", HEADS)
def test_a_weight_is_a_number_of_repetitions(head, training):
    """Float32 weights and six steps: the two differ by rounding alone.

    Weights that are ignored, or not divided by their sum, give differences of 0.01 and more.
    """
    X, y, weights = problem()
    held, times = (X[:15], y[:15], weights[:15]), weights[:15]
    weighted = HEADS[head](training).fit(X[15:], y[15:], weights[15:] * 0.7, validation=held)
    repeated = HEADS[head](training).fit(
        np.repeat(X[15:], weights[15:], axis=0),
        np.repeat(y[15:], weights[15:]),
        validation=(np.repeat(held[0], times, axis=0), np.repeat(held[1], times)),
    )
    plain = HEADS[head](training).fit(X[15:], y[15:], validation=held[:2])
    np.testing.assert_allclose(
        weighted.predict_proba(X), repeated.predict_proba(X), rtol=0, atol=5e-4
    )
    assert np.abs(weighted.predict_proba(X) - plain.predict_proba(X)).max() > 5e-3
    for one, other in zip(weighted.history_, repeated.history_, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, abs=1e-4)
        assert one.validation_loss == pytest.approx(other.validation_loss, abs=1e-4)
        assert one.validation_accuracy == pytest.approx(other.validation_accuracy, abs=0.05)


def test_equal_weights_are_no_weights():
    X, y, _ = problem()
    options = TrainingOptions(max_epochs=4, batch_size=8)
    plain = MLPHead(training=options).fit(X, y)
    weighted = MLPHead(training=options).fit(X, y, sample_weight=np.full(len(y), 3.0))
    np.testing.assert_array_equal(plain.held_back_, weighted.held_back_)
    np.testing.assert_allclose(plain.logits(X), weighted.logits(X), atol=1e-5)


def test_small_batches_are_weighted_too():
    """A class whose samples weigh almost nothing is hardly ever predicted."""
    X, y, _ = problem(90)
    options = TrainingOptions(max_epochs=20, batch_size=8)
    light = MLPHead(training=options).fit(X, y, sample_weight=np.where(y == 1, 1e-6, 1.0))
    assert (light.predict(X) == 1).mean() < 0.02 < (y == 1).mean()


def test_the_held_back_samples_keep_their_weights():
    X, y, _ = problem(90)
    head = MLPHead(training=TrainingOptions(max_epochs=1, validation_fraction=0.15))
    rows = head.fit(X, y).held_back_
    weights = np.where(rows & (y == 0), 1.0, 1e-9)
    weights[~rows] = 1.0
    head.fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(head.held_back_, rows)
    correct = head.predict(X) == y
    expected = correct[rows & (y == 0)].mean()
    assert head.history_[-1].validation_accuracy == pytest.approx(expected, abs=1e-6)


def test_weightless_samples_are_left_out():
    X, y, _ = problem()
    weights = np.where(y == 2, 0.0, 1.0)
    head = MLPHead(training=FULL).fit(X, y, weights)
    assert head.classes_.tolist() == [0, 1]
    np.testing.assert_allclose(
        head.logits(X), MLPHead(training=FULL).fit(X[y != 2], y[y != 2]).logits(X), atol=1e-6
    )
    with pytest.raises(HeadError, match="two classes, got one class"):
        MLPHead().fit(X, y, np.where(y == 0, 1.0, 0.0))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), r"shape \(60,\), one number per sample, got \(3,\)"),
        (np.ones((60, 2)), r"got \(60, 2\)"),
        (np.full(60, -1.0), "at least 0"),
        (np.full(60, np.nan), "finite"),
        (np.zeros(60), "at least one non-zero"),
        (["heavy"] * 60, "to be numbers"),
    ],
)
def test_bad_weights(weights, message):
    X, y, _ = problem()
    with pytest.raises(HeadError, match=message):
        MLPHead().fit(X, y, sample_weight=weights)


def test_weights_are_not_overwritten_and_belong_to_the_checkpoint(tmp_path):
    X, y, weights = problem()
    before = weights.copy()
    head = MLPHead(training=FULL)
    head.fit(X, y, weights, checkpoint=tmp_path / "c")
    np.testing.assert_array_equal(weights, before)
    with pytest.raises(ValueError, match="differs: data_sha256"):
        head.fit(X, y, np.where(weights > 0, weights + 1, 0), checkpoint=tmp_path / "c")


@pytest.mark.parametrize(
    "head",
    [
        MLPHead(training=FULL),
        logistic_regression(),
        logistic_regression(standardise=True),
        svc("linear"),
    ],
    ids=lambda head: type(head).__name__,
)
def test_a_text_classifier_hands_weights_on(head, toy_model, toy_texts, toy_labels):
    weights = np.where(np.arange(len(toy_texts)) % 3 == 0, 0.0, 2.0)
    kept = np.flatnonzero(weights)
    model = TextClassifier(str(toy_model), head)
    model.fit(toy_texts, toy_labels, sample_weight=weights)
    fewer = TextClassifier(str(toy_model), head)
    fewer.fit([toy_texts[i] for i in kept], toy_labels[kept], sample_weight=weights[kept])
    X = model.embed(toy_texts)
    scores = [m.head_.decision_function(X) for m in (model, fewer)]
    np.testing.assert_allclose(*scores, atol=5e-3)  # an SVM's own tolerance is 1e-3
    assert model.data_["n"] == len(kept)
    assert model.data_["fingerprint"] == fewer.data_["fingerprint"]
    truth = toy_labels.copy()
    truth[1] = "plus" if truth[1] == "minus" else "minus"
    weights = np.where(np.arange(len(truth)) == 1, 40.0, 1.0)
    hits = model.predict(toy_texts) == truth
    expected = np.average(hits, weights=weights)
    assert model.score(toy_texts, truth, sample_weight=weights) == pytest.approx(expected)


def test_a_classifier_without_weights_is_refused(toy_model, toy_texts, toy_labels):
    model = TextClassifier(str(toy_model), KNeighborsClassifier())
    with pytest.raises(HeadError, match="KNeighborsClassifier takes no sample_weight"):
        model.fit(toy_texts, toy_labels, sample_weight=np.ones(len(toy_texts)))
    TextClassifier(str(toy_model), DummyClassifier()).fit(
        toy_texts, toy_labels, sample_weight=np.ones(len(toy_texts))
    )


def test_weighted_steps_leave_the_global_generator_alone():
    X, y, weights = problem()
    before = torch.random.get_rng_state()
    MLPHead(training=FULL).fit(X, y, weights)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("head", ["mlp", "pca", "quantum, centred"])
def test_only_the_ratios_of_weights_count(head):
    """A power of two is exact; without it the sum of 1e308 sixty times is infinite."""
    X, y, weights = problem()
    one = HEADS[head](FULL).fit(X, y, weights * 1.0)
    for exponent in (1000, -1000):
        other = HEADS[head](FULL).fit(X, y, np.ldexp(weights * 1.0, exponent))
        np.testing.assert_array_equal(one.logits(X), other.logits(X))
    assert MLPHead(training=FULL).fit(X, y, np.full(60, 1e308)).stopped_ == "completed"


def test_a_validation_set_is_a_pair_or_a_triple():
    X, y, weights = problem()
    for wrong in ((X,), (X, y, weights, y), X):
        with pytest.raises(HeadError, match=r"validation to be \(X, y\) or \(X, y, sample_weight"):
            MLPHead(training=FULL).fit(X, y, validation=wrong)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.linspace(0, 1, 60), "Unknown label type"),
        (np.array([1.5, None] * 30, dtype=object), "Unknown label type|labels"),
        (["a", "a\0"] * 30, "NUL"),
    ],
)
def test_labels_that_are_no_classes(labels, message):
    X, y, _ = problem()
    with pytest.raises(HeadError, match=message):
        MLPHead(training=FULL).fit(X, labels)
    with pytest.raises(HeadError, match=message):
        MLPHead(training=FULL).fit(X, y, validation=(X, labels))


def test_objects_that_are_integers_are_labels():
    X, y, _ = problem()
    head = MLPHead(training=FULL).fit(X, y.astype(object), validation=(X, y.astype(object)))
    assert head.classes_.tolist() == [0, 1, 2]
    assert head.score(X, y) > 0
