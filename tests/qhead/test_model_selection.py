"""scikit-learn's searches and clones over heads and classifiers, and what a failed fit leaves."""

import copy

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.validation import check_is_fitted

from qhead.classifier import TextClassifier
from qhead.encoder.sentence_encoder import SentenceEncoder
from qhead.errors import HeadError, TrainingError
from qhead.heads import MLPHead, QuantumHead
from qhead.training import TrainingOptions

QUICK = TrainingOptions(max_epochs=2, learning_rate=0.1)


def problem(n=40, num_features=6):
    rng = np.random.default_rng(3)
    return rng.normal(size=(n, num_features)).astype(np.float32), np.arange(n) % 2


def test_a_grid_over_training_options_of_a_head_inside_a_classifier(
    toy_model, toy_texts, toy_labels
):
    model = TextClassifier(str(toy_model), MLPHead(training=QUICK, seed=3))
    grid = {"head__training__learning_rate": [0.001, 0.3], "head__hidden": [0, 2]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(toy_texts, toy_labels)
    best = search.best_estimator_.head_.training
    assert best.learning_rate == search.best_params_["head__training__learning_rate"] == 0.3
    assert best.max_epochs == 2
    assert model.head.training is QUICK


def test_a_grid_over_the_default_head():
    model = TextClassifier().set_params(head__num_qubits=6, head__training__max_epochs=3)
    assert isinstance(model.head, QuantumHead)
    assert (model.head.num_qubits, model.head.training.max_epochs) == (6, 3)
    assert TextClassifier().set_params(encoder="x").head is None
    swapped = TextClassifier().set_params(head=MLPHead(), head__hidden=3)
    assert swapped.head.hidden == 3


@pytest.mark.parametrize("training", [None, QUICK])
def test_training_options_are_parameters(training):
    head = MLPHead(training=training, seed=4)
    params = head.get_params()
    expected = (training or TrainingOptions()).to_dict()
    assert {k: params[f"training__{k}"] for k in expected} == expected
    assert not any("__" in name for name in head.get_params(deep=False))
    copied = clone(head).set_params(training__weight_decay=0.25, hidden=2)
    assert copied.training.to_dict() == {**expected, "weight_decay": 0.25}
    assert head.training is training
    with pytest.raises(HeadError, match=r"got 'learning_rat'.*learning_rate"):
        head.set_params(training__learning_rat=0.1)
    with pytest.raises(HeadError, match="learning_rate"):
        head.set_params(training__learning_rate=-1)


def test_clones_share_the_loaded_transformer(toy_model, toy_texts, toy_labels):
    encoder = SentenceEncoder(str(toy_model), cache=None)
    encoder.encode(toy_texts[:2])
    assert encoder.loaded
    model = TextClassifier(encoder, MLPHead(training=QUICK))
    assert clone(model).encoder._transformer is encoder._transformer
    assert not copy.deepcopy(encoder).loaded
    np.testing.assert_array_equal(
        copy.deepcopy(encoder).encode(toy_texts[:2]), encoder.encode(toy_texts[:2])
    )
    assert cross_val_score(model, toy_texts, toy_labels, cv=2, error_score="raise").shape == (2,)


FAILURES = {
    "one class": (lambda X, y: (X, np.zeros_like(y)), {}),
    "continuous labels": (lambda X, y: (X, y + 0.5), {}),
    "weights": (lambda X, y: (X, y), {"sample_weight": [1.0]}),
    "validation": (lambda X, y: (X, y), {"validation": (np.ones((2, 6)), [0, 7])}),
    "checkpoint": (lambda X, y: (X, y), {"checkpoint": "no/such/folder/c"}),
    "module": (lambda X, y: (np.ones((40, 3000)), y), {}),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_fit_leaves_the_head_as_it_was(failure):
    change, options = FAILURES[failure]
    X, y = problem()
    head = QuantumHead(num_qubits=2, encoder_qubits=4, reduction=None, training=QUICK)
    with pytest.raises(ValueError, match=r"Expected|checkpoint|Unknown label"):
        head.fit(*change(X, y), **options)
    assert not [name for name in vars(head) if name.endswith("_")]
    with pytest.raises(NotFittedError):
        check_is_fitted(head)
    before = head.fit(X, y).logits(X)
    with pytest.raises(ValueError, match=r"Expected|checkpoint|Unknown label"):
        head.fit(*change(X, y), **options)
    np.testing.assert_array_equal(head.logits(X), before)
    assert head.classes_.tolist() == [0, 1]


def test_a_training_that_diverges_at_once_leaves_the_head_as_it_was():
    X, y = problem()
    head = MLPHead(training=TrainingOptions(learning_rate=1e38))
    with pytest.raises(TrainingError):
        head.fit(X, y)
    assert not [name for name in vars(head) if name.endswith("_")]


def test_a_training_that_diverges_later_says_so():
    X, y = problem()

    def spoil(record, total):
        if record.epoch == 2:
            head.seen[0].weight.data.fill_(np.nan)

    class Head(MLPHead):
        def build_module(self, *arguments):
            module = super().build_module(*arguments)
            self.seen = module
            return module

    head = Head()
    with pytest.raises(TrainingError):
        head.fit(X, y, progress=spoil)
    assert (head.stopped_, len(head.history_)) == ("diverged", 2)
    assert head.predict(X).shape == (40,)
