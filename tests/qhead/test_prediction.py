import numpy as np
import pytest
from scipy.special import softmax

from qhead.errors import InputError
from qhead.prediction import Z_95, exact_prediction, sampled_prediction

CLASSES = np.array(["bad", "good"])


def test_exact_prediction_is_decided():
    prediction = exact_prediction(np.array([[0.2, 0.8], [0.5, 0.5]]), CLASSES)
    assert prediction.labels.tolist() == ["good", "bad"]
    assert prediction.decided.all()
    assert (prediction.std_errors == 0).all()
    assert prediction.winning.tolist() == [0.8, 0.5]
    assert len(prediction) == 2


def test_labels_of_one_observable_are_decided_as_often_as_promised():
    # One qubit, p(1) such that <Z> = 0.06; the read-out's bias puts the boundary at <Z> = 0, so a
    # shot noise estimate on the wrong side is a wrong label. Of the labels called decided at 95 %,
    # at most 2.5 % (one side) may be wrong, within the Monte Carlo error.
    rng, shots, repeats = np.random.default_rng(1), 1000, 20_000
    truth = 0.06
    weight = np.array([[-1.5], [2.5]])  # (K, M)
    ones = rng.binomial(shots, (1 - truth) / 2, size=(repeats, 1))
    values = 1 - 2 * ones / shots
    errors = np.sqrt((1 - values**2) / shots)
    prediction = sampled_prediction(values @ weight.T, errors, weight, CLASSES)
    wrong = prediction.decided & (prediction.labels == "bad")
    # mean 1.9 standard errors from the boundary: about half are decided
    assert 0.4 < prediction.decided.mean() < 0.6
    assert wrong.mean() < 0.025
    # and a boundary at the truth itself decides 5 % by chance
    at_boundary = sampled_prediction((values - truth) @ weight.T, errors, weight, CLASSES)
    spread = np.sqrt(0.05 * 0.95 / repeats)
    assert at_boundary.decided.mean() == pytest.approx(0.05, abs=5 * spread + 0.005)


@pytest.mark.parametrize("independent", [True, False])
def test_errors_agree_with_monte_carlo(independent):
    # Independent normal errors meet the quadrature; fully correlated ones meet the bound (signs
    # chosen so that all contributions to the margin add up).
    rng, samples = np.random.default_rng(2), 200_000
    weight = np.array([[0.7, -0.4, 1.1], [-0.5, 0.9, 0.2], [0.1, -1.2, -0.6]])  # (K, M)
    bias = np.array([0.2, -0.1, 0.0])
    centre, errors = np.array([0.3, -0.2, 0.5]), np.array([0.01, 0.02, 0.015])
    logits = (centre @ weight.T + bias)[None]
    prediction = sampled_prediction(
        logits, errors[None], weight, np.arange(3), independent=independent
    )
    first = int(logits.argmax())
    noise = rng.normal(size=(samples, 3))
    if not independent:
        probabilities = softmax(logits[0])
        signs = np.sign(weight[first] - probabilities @ weight)
        noise = noise[:, :1] * signs
    drawn = softmax((centre + noise * errors) @ weight.T + bias, axis=1)[:, first]
    # relative error of a standard deviation from n samples: 1 / sqrt(2 n) = 0.16 %; first order
    assert prediction.std_errors[0] == pytest.approx(drawn.std(), rel=0.02)


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
