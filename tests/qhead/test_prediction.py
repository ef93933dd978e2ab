from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
from scipy.special import expit, softmax
from scipy.stats import binom, norm

from hardware.circuits.intervals import Z_95, std_error_of_mean
from hardware.workload import Expectations
from qhead.errors import HeadError, InputError
from qhead.prediction import exact_prediction, predict_head, sampled_prediction


@dataclass(frozen=True)
class Target:
    """As much of a target as a prediction looks at."""

    spec: str


CLASSES = np.array(["bad", "good"])


def test_exact_prediction_is_decided():
    prediction = exact_prediction(np.array([[0.2, 0.8], [0.5, 0.5]]), CLASSES)
    assert prediction.labels.tolist() == ["good", "bad"]
    assert prediction.decided.all()
    assert (prediction.std_errors == 0).all()
    assert prediction.winning.tolist() == [0.8, 0.5]
    assert len(prediction) == 2


def test_labels_of_one_observable_are_decided_as_often_as_promised():
    # One qubit with <Z> = 0.06; the read-out's bias puts the boundary at <Z> = 0, so a mean on the
    # wrong side is a wrong label. All numbers of ones are weighed by their exact probability.
    shots, truth = 1000, 0.06
    weight = np.array([[-1.5], [2.5]])  # (K, M)
    ones = np.arange(shots + 1)
    mass = binom.pmf(ones, shots, (1 - truth) / 2)
    values = (1 - 2 * ones / shots)[:, None]
    errors = std_error_of_mean(values, 1 - values**2, shots, -1.0, 1.0)
    prediction = sampled_prediction(values @ weight.T, errors, weight, CLASSES)
    wrong = prediction.decided & (prediction.labels == "bad")
    # the mean is 1.9 standard errors from the boundary: about half are decided
    assert 0.4 < mass[prediction.decided].sum() < 0.6
    assert mass[wrong].sum() < 1e-4
    # and a boundary at the truth itself decides just under 5 % by chance
    at_boundary = sampled_prediction((values - truth) @ weight.T, errors, weight, CLASSES)
    assert 0.04 < mass[at_boundary.decided].sum() < 0.05


def test_the_error_of_a_saturated_probability_does_not_vanish():
    # m = 8 ± 1.96 * 2 is 0.9997, and may be sigma(4.08) = 0.983: 50 times further than p(1 - p) * 2
    weight = np.array([[4.0], [-4.0]])
    found = sampled_prediction(np.array([[4.0, -4.0]]), np.array([[0.25]]), weight, CLASSES)
    expected = (expit(8) - expit(8 - 2 * Z_95)) / Z_95
    assert found.std_errors[0] == pytest.approx(expected)
    # near one half the longer side is as long as the other, and the first order holds
    found = sampled_prediction(np.array([[0.01, -0.01]]), np.array([[0.01]]), weight, CLASSES)
    assert found.std_errors[0] == pytest.approx(0.25 * 0.08, rel=0.01)


@pytest.mark.parametrize("num_classes", [2, 3, 6])
@pytest.mark.parametrize("size", [0.01, 0.1, 1.0])
def test_the_interval_of_a_probability_holds_whatever_the_values_within_theirs(num_classes, size):
    rng = np.random.default_rng(num_classes)
    ratios = []
    for _ in range(50):
        weight, bias = rng.normal(size=(num_classes, 3)) * 2, rng.normal(size=num_classes)
        centre, errors = rng.uniform(-1, 1, 3), rng.uniform(0, size, 3)
        logits = (centre @ weight.T + bias)[None]
        found = sampled_prediction(logits, errors[None], weight, np.arange(num_classes))
        corners = np.array(list(product((-1, 1), repeat=3)))
        inside = np.concatenate([corners, rng.uniform(-1, 1, (200, 3))]) * Z_95 * errors
        drawn = softmax((centre + inside) @ weight.T + bias, axis=1)
        distance = np.abs(drawn[:, found.labels[0]] - found.winning[0]).max()
        assert distance <= Z_95 * found.std_errors[0] + 1e-12
        if found.decided[0]:
            assert (drawn.argmax(axis=1) == found.labels[0]).all()
        ratios.append(Z_95 * found.std_errors[0] / distance)
        if num_classes == 2:
            assert Z_95 * found.std_errors[0] == pytest.approx(distance)
    if size < 1:  # and is no wider than it must be
        assert np.median(ratios) < (1.05 if size < 0.1 else 1.3)


def test_own_shots_add_in_quadrature():
    weight = np.array([[3.0, 4.0], [0.0, 0.0]])
    logits, errors = np.array([[0.1, -0.1]]), np.array([[1e-4, 1e-4]])
    shared, own = (
        sampled_prediction(logits, errors, weight, CLASSES, independent=which).std_errors[0]
        for which in (False, True)
    )
    assert shared / own == pytest.approx(7 / 5, rel=1e-3)


def test_own_shots_bound_the_bend_of_a_probability():
    # Both margins 1, each with half a width of 0.3 by an observable of its own: along its tangent
    # the log-odds move by 0.3/√2, and they bend by 0.3²/2 at most.
    error = 0.3 / norm.ppf(0.975)
    found = sampled_prediction(
        np.array([[1.0, 0.0, 0.0]]),
        np.full((1, 2), error),
        np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]),
        np.arange(3),
        independent=True,
    )
    centre = 1 - np.log(2)
    low = expit(centre - 0.3 / np.sqrt(2) - 0.3**2 / 2)
    expected = (expit(centre) - low) / norm.ppf(0.975)
    assert found.std_errors[0] == pytest.approx(expected)


def test_every_other_class_must_be_beaten():
    # The second class is 1.0 behind and sure, the third 1.2 behind and open.
    weight = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 5.0]])
    logits, errors = np.array([[2.0, 1.0, 0.8]]), np.array([[0.0, 0.2]])
    assert not sampled_prediction(logits, errors, weight, np.arange(3)).decided[0]
    logits[0, 2] = 0.0
    assert sampled_prediction(logits, errors, weight, np.arange(3)).decided[0]


def test_margin_error_decides():
    # margin 0.4; |W_a - W_b| s = 3 * 0.06 + 1 * 0.02 = 0.2 bounded, sqrt(.18² + .02²) = 0.1811
    weight = np.array([[2.0, 0.5], [-1.0, -0.5]])
    logits, errors = np.array([[0.4, 0.0]]), np.array([[0.06, 0.02]])

    def decided(z, independent):
        return sampled_prediction(
            logits, errors, weight, CLASSES, z=z, independent=independent
        ).decided[0]

    assert decided(1.99, False)
    assert not decided(2.01, False)
    assert decided(2.2, True)
    assert not decided(2.22, True)


def test_no_margin_is_needed_at_z_zero():
    weight, logits = np.array([[1.0], [-1.0]]), np.array([[0.1, 0.0]])
    found = sampled_prediction(logits, np.ones((1, 1)), weight, CLASSES, z=0)
    assert found.decided[0]


class Head:
    """As much of a fitted quantum head as a prediction asks for."""

    classes_ = CLASSES

    def predict_proba(self, X):
        return np.tile([0.25, 0.75], (len(X), 1))

    def expectations(self, X, target):
        values = np.full((len(X), 1), 0.5)
        return Expectations(values, np.full_like(values, 0.1), target.spec, 100, ("a note",))

    def logits_from(self, values):
        return values @ self.readout_weights()[0].T

    def readout_weights(self):
        return np.array([[2.0], [0.0]]), np.zeros(2)


@pytest.mark.parametrize("target", [None, Target("exact")])
def test_no_target_and_the_exact_one_ask_the_head_itself(target):
    found = predict_head(Head(), np.zeros((3, 2)), target)
    assert found.target == "exact"
    assert found.labels.tolist() == ["good"] * 3
    assert found.decided.all()
    assert not found.std_errors.any()
    with pytest.raises(HeadError, match="predict_proba"):
        predict_head(object(), np.zeros((3, 2)), target)


def test_another_target_is_asked_for_expectations():
    found = predict_head(Head(), np.zeros((3, 2)), Target("shots:100"))
    assert (found.target, found.notes) == ("shots:100", ("a note",))
    assert found.labels.tolist() == ["bad"] * 3
    assert found.decided.all()  # 1.0 > 1.96 * 0.2
    assert not predict_head(Head(), np.zeros((3, 2)), Target("shots:9"), z=6).decided.any()
    with pytest.raises(HeadError, match="needs a circuit"):
        predict_head(object(), np.zeros((3, 2)), Target("shots:100"))


def test_rows_of_a_prediction_belong_together():
    found = exact_prediction(np.array([[0.2, 0.8]]), CLASSES)
    with pytest.raises(ValueError, match="1 rows"):
        replace(found, decided=np.ones(2, dtype=bool))
    with pytest.raises(ValueError, match="1 rows"):
        replace(found, std_errors=np.ones((1, 1)))


def test_zero_errors_decide_all_but_ties():
    weight = np.array([[1.0], [-1.0]])
    logits = np.array([[0.1, 0.0], [0.0, 0.0]])
    prediction = sampled_prediction(logits, np.zeros((2, 1)), weight, CLASSES)
    assert prediction.decided.tolist() == [True, False]
    assert abs(Z_95 - 1.96) < 1e-4


def test_shapes_and_z_are_checked():
    with pytest.raises(InputError, match="Expected weights"):
        sampled_prediction(np.zeros((3, 2)), np.zeros((3, 4)), np.zeros((2, 5)), CLASSES)
    with pytest.raises(InputError, match="z >= 0"):
        sampled_prediction(np.zeros((3, 2)), np.zeros((3, 4)), np.zeros((2, 4)), CLASSES, z=-1)
