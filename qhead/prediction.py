"""What a prediction is worth: labels, probabilities, and which labels the shot noise leaves open.

The read-out of a quantum head is linear, so the standard errors of its expectation values carry
over to everything behind it. With logits ``z = W e + b``, winner a and standard errors ``s`` (M,)
of ``e``:

- margins to the other classes: ``m_k = (W_a - W_k) · e + const``, hence
  ``se(m_k) = sum_j |W_aj - W_kj| s_j``;
- log-odds of the winner: ``l = -log sum_k exp(-m_k)``, with ``q_k ∝ exp(-m_k)`` of the others
  ``se(l) = sum_j |W_aj - sum_k q_k W_kj| s_j``; l is concave in e, so that the tangent bounds it
  from above, and from below less (largest h)²/2 by Hoeffding's lemma (``h_k = 1.96 se(m_k)``), or
  by every margin at its lower end, whichever is closer. For two classes ``l = m``.
- winning probability ``p_a = 1/(1 + exp(-l))``: its standard error is the longer side of the
  interval of l, carried to p_a, over 1.96; a first-order error would vanish as p_a nears 1.

The sums are those of fully correlated errors: observables measured in the same shots are
correlated in a way that standard errors alone do not tell, and the sum bounds every case (for one
observable, M = 1, it is exact). ``independent=True`` adds in quadrature instead, right where each
observable had its own shots. A label is *decided* where every ``m_k > z · se(m_k)``. This is
statistical error alone: a bias from gate noise is not in it, nor the error of a read-out that was
refitted to a device. Standard errors are those of `hardware.circuits.intervals`, which hold near
⟨Z⟩ = ±1 and at few shots; ``scripts/interval_coverage.py`` counts how often all of this holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, logsumexp, softmax

from hardware.circuits.adaptive import LinearRule
from hardware.circuits.intervals import Z_95
from qhead.errors import HeadError, InputError

if TYPE_CHECKING:
    from hardware.circuits.adaptive import AdaptiveShots, Decisions
    from hardware.targets import ExecutionTarget

#: What the record of a prediction holds beside its text.
FIELDS = ("label", "probability", "std_error", "decided")


@dataclass(frozen=True, eq=False)
class Prediction:
    """Labels of n sentences with what the shot noise leaves of them.

    Args:
        labels: The most probable label, shape (n,), of the classes' dtype.
        probabilities: One column a class in the order of ``classes_``, shape (n, K).
        std_errors: Standard error of the winning probability, shape (n,): the longer side of its
            95 % interval over 1.96; zero where exact.
        decided: Whether every margin exceeds its own uncertainty, shape (n,), bool; with adaptive
            shots by the error rate of `hardware.circuits.adaptive`.
        target: Specification of the target that ran the circuits.
        notes: Sentences on what acted and what an emulation leaves out.
    """

    labels: np.ndarray  # (n,)
    probabilities: np.ndarray  # (n, K)
    std_errors: np.ndarray  # (n,)
    decided: np.ndarray  # (n,) bool
    target: str = "exact"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.labels)
        shapes = (self.probabilities.shape[:1], self.std_errors.shape, self.decided.shape)
        if any(shape != (n,) for shape in shapes):
            raise ValueError(f"Expected {n} rows in every array, got shapes {shapes}.")

    def __len__(self) -> int:
        return len(self.labels)

    def decided_by(
        self, decisions: Decisions, rows: np.ndarray | slice = slice(None)
    ) -> Prediction:
        """Return the prediction with the decisions of adaptive shots on these rows."""
        return replace(self, decided=decisions.decided[rows])

    @property
    def winning(self) -> np.ndarray:
        """The probability of the predicted label, shape (n,)."""
        return self.probabilities.max(axis=1)

    def records(self, texts: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Yield one JSON-able mapping a sentence: text, label, probability, std_error, decided.

        Args:
            texts: The n sentences; without them the records have no text.
        """
        columns = zip(
            self.labels.tolist(),
            self.winning.tolist(),
            # An extrapolation may know a value and not its error: unknown, not infinite.
            [error if np.isfinite(error) else None for error in self.std_errors.tolist()],
            self.decided.tolist(),
            strict=True,
        )
        for index, values in enumerate(columns):
            text = {} if texts is None else {"text": texts[index]}
            yield text | dict(zip(FIELDS, values, strict=True))


def exact_prediction(probabilities: np.ndarray, classes: np.ndarray) -> Prediction:
    """Return a prediction without statistical error from probabilities (n, K)."""
    n = len(probabilities)
    return Prediction(
        labels=classes[probabilities.argmax(axis=1)],
        probabilities=probabilities,
        std_errors=np.zeros(n),
        decided=np.ones(n, dtype=bool),
    )


def sampled_prediction(
    logits: np.ndarray,
    std_errors: np.ndarray,
    weight: np.ndarray,
    classes: np.ndarray,
    *,
    z: float = Z_95,
    independent: bool = False,
    target: str = "exact",
    notes: tuple[str, ...] = (),
) -> Prediction:
    """Return a prediction with the expectations' standard errors carried to its probabilities.

    Args:
        logits: Logits of K classes, shape (n, K).
        std_errors: Standard errors of the M expectation values, shape (n, M).
        weight: Weights of the linear read-out, shape (K, M).
        classes: The K labels in the order of the logits' columns.
        z: Standard errors by which a margin must differ from zero to be decided.
        independent: Add the observables' errors in quadrature instead of bounding them.

    Raises:
        InputError: The shapes do not belong together or `z` is negative.
    """
    n, num_classes = logits.shape
    if weight.shape != (num_classes, std_errors.shape[1]) or std_errors.shape[0] != n:
        raise InputError(
            f"Expected weights ({num_classes}, {std_errors.shape[1]}) and standard errors of {n} "
            f"samples, got {weight.shape} and {std_errors.shape}."
        )
    if not z >= 0:
        raise InputError(f"Expected z >= 0 standard errors, got {z}.")
    first = logits.argmax(axis=1)
    rows, others = np.arange(n), np.arange(num_classes) != first[:, None]  # (n, K)
    margins = np.where(others, logits[rows, first][:, None] - logits, np.inf)  # (n, K), >= 0
    errors = _propagate(weight[first][:, None] - weight, std_errors[:, None], independent)  # (n, K)
    log_odds, shares = _log_odds(margins), softmax(-margins, axis=1)
    reach = Z_95 * _propagate(weight[first] - shares @ weight, std_errors, independent)
    halves = Z_95 * errors
    low = np.maximum(_log_odds(margins - halves), log_odds - reach - halves.max(axis=1) ** 2 / 2)
    winning = expit(log_odds)
    longer = np.maximum(winning - expit(low), expit(log_odds + reach) - winning)
    return Prediction(
        labels=classes[first],
        probabilities=softmax(logits, axis=1),
        std_errors=longer / Z_95,
        decided=np.all(margins > z * errors, axis=1),
        target=target,
        notes=notes,
    )


def _log_odds(margins: np.ndarray) -> np.ndarray:
    """Return the winner's log-odds (n,) of its margins (n, K), infinite to itself."""
    return np.asarray(-logsumexp(-margins, axis=1))


def _propagate(gradient: np.ndarray, std_errors: np.ndarray, independent: bool) -> np.ndarray:
    """Return the standard errors (...) of quantities with these gradients (..., M)."""
    parts = np.abs(gradient) * std_errors
    return np.asarray(np.sqrt((parts**2).sum(axis=-1)) if independent else parts.sum(axis=-1))


def predict_head(
    head: Any,
    embeddings: np.ndarray,
    target: ExecutionTarget | None = None,
    *,
    z: float = Z_95,
    adaptive: AdaptiveShots | None = None,
) -> Prediction:
    """Predict embeddings (n, d) with a fitted head, with the statistical error of the target.

    Args:
        head: A `TorchHead` or any fitted scikit-learn classifier with ``predict_proba``.
        embeddings: Shape (n, d).
        target: Where the circuits run; None is exact.
        z: Standard errors by which a margin must differ from zero to be decided.
        adaptive: Spend the target's shots in rounds, which decide by their own error rate.

    Raises:
        InputError: Rounds for a target without shots.
        HeadError: A target for a head that runs no circuit, or a head without probabilities.
    """
    if adaptive is not None and not hasattr(target, "run_adaptive"):
        raise InputError(
            f"Expected adaptive shots with a target that has shots, such as shots:4096, got "
            f"{'exact' if target is None else target.spec!r}. Leave adaptive out."
        )
    if target is None or target.spec == "exact":
        if not hasattr(head, "predict_proba"):
            raise HeadError(
                f"{type(head).__name__} has no predict_proba, so it gives labels only. Use "
                "predict, or a head that knows probabilities."
            )
        return exact_prediction(np.asarray(head.predict_proba(embeddings)), head.classes_)
    if not hasattr(head, "expectations"):
        raise HeadError(
            f"The target {target.spec!r} needs a circuit, and the head "
            f"{getattr(head, 'kind', type(head).__name__)!r} has none. Use 'exact', or a quantum "
            "head."
        )
    weight, bias = head.readout_weights()
    if adaptive is None:
        expectations = head.expectations(embeddings, target)
    else:
        rule = LinearRule(weight, bias)
        expectations = target.run_adaptive(head.workload(embeddings), rule, adaptive)  # type: ignore[attr-defined]
    prediction = sampled_prediction(
        head.logits_from(expectations.values),
        expectations.std_errors,
        weight,
        head.classes_,
        z=z,
        target=expectations.target,
        notes=expectations.notes,
    )
    decisions = expectations.decisions
    return prediction if decisions is None else prediction.decided_by(decisions)
