import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss

from qhead.errors import DataError
from qhead.evaluation import calibration_error, class_scores, evaluate_prediction, wilson_interval
from qhead.prediction import Prediction, exact_prediction

CLASSES = np.array(["a", "b", "c"])


@pytest.mark.parametrize(("successes", "n"), [(0, 7), (7, 7), (3, 10), (760, 1000), (1, 1)])
def test_wilson_interval_is_scipys(successes, n):
    expected = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= wilson_interval(successes, n)[0] <= wilson_interval(successes, n)[1] <= 1


def test_wilson_interval_refuses_no_samples():
    with pytest.raises(ValueError, match="n > 0"):
        wilson_interval(0, 0)


def test_scores_by_hand():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.45, 0.35, 0.2], [0, 0, 1.0]])
    labels = np.array(["a", "b", "b", "c"])
    result = evaluate_prediction(exact_prediction(probabilities, CLASSES), labels, CLASSES)
    assert result.accuracy == 0.75
    assert result.n == 4
    assert result.confusion == ((1, 0, 0), (1, 1, 0), (0, 0, 1))  # row: truth
    assert result.f1 == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    # winning .7 right, .6 right, .45 wrong, 1.0 right: gaps .3, .4, .45, 0, each alone in its bin
    assert result.calibration_error == pytest.approx((0.3 + 0.4 + 0.45) / 4)
    squares = [0.09 + 0.04 + 0.01, 0.01 + 0.16 + 0.09, 0.45**2 + 0.65**2 + 0.04, 0.0]
    assert result.brier == pytest.approx(np.mean(squares))
    assert result.undecided == 0
    assert result.target == "exact"
    assert [row.label for row in result.per_class] == ["a", "b", "c"]
    assert np.mean([row.f1 for row in result.per_class]) == pytest.approx(result.f1)
    json.dumps(result.as_dict(), allow_nan=False)


def test_scores_of_each_class_by_hand():
    # a: 2 right of 3 predicted and 2 true; b: 1 of 1 and 3; c: never predicted; d: never true
    truth = np.array(["a", "a", "b", "b", "b", "c"])
    predicted = np.array(["a", "a", "b", "a", "d", "d"])
    a, b, c, d, e = class_scores(truth, predicted, np.array(["a", "b", "c", "d", "e"]))
    assert (a.label, a.precision, a.recall, a.support) == ("a", pytest.approx(2 / 3), 1.0, 2)
    assert a.f1 == pytest.approx(0.8)
    assert (b.precision, b.recall, b.support) == (1.0, pytest.approx(1 / 3), 3)
    assert b.f1 == pytest.approx(0.5)
    assert (c.precision, c.recall, c.f1, c.support) == (None, 0.0, 0.0, 1)
    assert (d.precision, d.recall, d.f1, d.support) == (0.0, None, 0.0, 0)
    assert (e.precision, e.recall, e.f1, e.support) == (None, None, None, 0)  # neither


def test_brier_is_twice_scikit_learns_binary_score():
    rng = np.random.default_rng(0)
    p, y = rng.uniform(size=50), rng.integers(0, 2, 50)
    result = evaluate_prediction(
        exact_prediction(np.stack([1 - p, p], axis=1), np.arange(2)), y, np.arange(2)
    )
    assert result.brier == pytest.approx(2 * brier_score_loss(y, p))


def test_calibrated_confidence_has_no_error():
    confidence = np.repeat([0.25, 0.75], 4)
    correct = np.array([1, 0, 0, 0, 1, 1, 1, 0])
    assert calibration_error(confidence, correct) == pytest.approx(0)
    assert calibration_error(np.ones(3), np.array([1, 1, 1])) == 0  # 1.0 is in the last bin
    assert calibration_error(confidence, 1 - correct) == pytest.approx(0.5)


def test_undecided_labels_are_counted():
    prediction = Prediction(
        labels=np.array(["a", "b"]),
        probabilities=np.array([[0.6, 0.4, 0], [0.4, 0.6, 0]]),
        std_errors=np.array([0.1, 0.2]),
        decided=np.array([True, False]),
        target="shots:10",
        notes=("ten shots",),
    )
    result = evaluate_prediction(prediction, np.array(["a", "a"]), CLASSES)
    assert (result.undecided, result.target, result.notes) == (1, "shots:10", ("ten shots",))


def test_labels_unseen_in_training_are_listed():
    prediction = exact_prediction(np.eye(3), CLASSES)
    with pytest.raises(DataError, match=r"1 other.*'z' \(first in row 2\)"):
        evaluate_prediction(prediction, np.array(["a", "z", "c"]), CLASSES)


def test_counts_must_agree():
    with pytest.raises(DataError, match="one label for each of 3"):
        evaluate_prediction(exact_prediction(np.eye(3), CLASSES), np.array(["a"]), CLASSES)
