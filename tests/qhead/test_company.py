"""Heads and classifiers in scikit-learn's company, and the cache in that of other processes."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from qhead import MLPHead, QuantumHead, SentenceEncoder, TextClassifier, TrainingOptions

HEAD = QuantumHead(
    num_qubits=2,
    connectivity=1,
    encoder_layers=0,
    training=TrainingOptions(max_epochs=3, learning_rate=0.1),
)


@pytest.fixture(scope="module")
def data():
    features = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    return features, np.where(features[:, 0] > 0, "a", "b")


def test_cross_validation_in_processes_gives_the_scores_of_one(data):
    alone = cross_val_score(HEAD, *data, cv=3, error_score="raise")
    assert np.array_equal(cross_val_score(HEAD, *data, cv=3, n_jobs=2, error_score="raise"), alone)


def test_a_search_through_a_pipeline(data):
    grid = {
        "quantumhead__num_layers": [0, 1],
        "quantumhead__training": [TrainingOptions(max_epochs=1), HEAD.training],
    }
    search = GridSearchCV(make_pipeline(StandardScaler(), HEAD), grid, cv=2, error_score="raise")
    search.fit(*data)
    assert set(search.best_params_) == set(grid)
    assert search.best_estimator_.predict_proba(data[0]).shape == (60, 2)


def test_a_search_over_sentences(toy_model, toy_texts, toy_labels):
    encoder = SentenceEncoder(str(toy_model), cache=False)
    head = MLPHead(training=TrainingOptions(max_epochs=15, learning_rate=0.1))
    search = GridSearchCV(
        TextClassifier(encoder, head), {"head__hidden": [0, 4]}, cv=2, error_score="raise"
    ).fit(toy_texts, toy_labels)
    assert search.score(toy_texts, toy_labels) > 0.9


def test_two_processes_train_on_one_cache(toy_model, toy_texts, toy_labels, tmp_path, monkeypatch):
    monkeypatch.setenv("QHEAD_CACHE", str(tmp_path / "cache"))
    rows = [f"{text}\t{label}" for text, label in zip(toy_texts, toy_labels, strict=True)]
    (tmp_path / "toy.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    command = [sys.executable, "-m", "qhead", "train", str(tmp_path / "toy.tsv"), "--out"]
    options = ["--encoder", str(toy_model), "--head", "mlp", "--max-epochs", "2"]
    both = [
        subprocess.Popen([*command, str(tmp_path / name), *options], stderr=subprocess.PIPE)
        for name in ("a", "b")
    ]
    assert [process.communicate(timeout=100)[1] for process in both] == [b"", b""]
    weights = [(tmp_path / name / "head.safetensors").read_bytes() for name in ("a", "b")]
    assert weights[0] == weights[1]
