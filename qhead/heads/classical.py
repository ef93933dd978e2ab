"""Classical heads: MLPs, equal-budget controls, and scikit-learn's linear and kernel machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from qhead import checks
from qhead.errors import HeadError
from qhead.heads.base import TorchHead
from qhead.heads.layers import linear, principal_axes
from qhead.training_options import TrainingOptions


class MLPHead(TorchHead):
    """Linear (d → h) → ReLU → linear (h → K), or one linear layer where h is 0.

    It has (d+1)·h + (h+1)·K parameters, or (d+1)·K without a hidden layer.

    Args:
        hidden: Width of the hidden layer (h), 0 for none.
        training: How to train; None: the defaults of `TrainingOptions`.
        seed: Seed of the initial weights, the batches and the validation split.
    """

    kind = "mlp"
    inference_dtype = torch.float64

    def __init__(
        self, *, hidden: int = 0, training: TrainingOptions | None = None, seed: int = 0
    ) -> None:
        self.hidden = hidden
        self.training = training
        self.seed = seed

    def validate_options(self) -> None:
        super().validate_options()
        checks.count("hidden", self.hidden, low=0)

    def build_module(
        self,
        num_features: int,
        num_classes: int,
        features: NDArray[np.float32] | None,
        sample_weight: NDArray[np.float64] | None = None,
    ) -> nn.Module:
        generator = self.initialisation_generator()
        return nn.Sequential(*_mlp(num_features, self.hidden, num_classes, generator))


class ReducedMLPHead(TorchHead):
    """A fixed projection to k dimensions, then an MLP: the control of equal budget.

    The projection centres the embeddings, turns them onto k directions and scales all by one
    number, so that the k components have a mean variance of 1 over the training set. It is found
    without labels and never trained, so none of it counts as a parameter.

    With `max_parameters` and no `hidden`, the MLP is the largest that fits: of all widths, the
    linear layer without a hidden one included, that with the most parameters not above it.

    Args:
        reduction: How to project the embeddings. ``"pca"`` takes the first k principal directions
            of the training embeddings, ``"random"`` draws k from a normal distribution.
        num_components: Dimensions that the projection keeps (k).
        hidden: Width of the hidden layer, 0 for none. None: what `max_parameters` allows.
            Without `max_parameters`, no hidden layer.
        max_parameters: Upper bound on the number of trainable parameters. None: no bound.
        training: How to train; None: the defaults of `TrainingOptions`.
        seed: Seed of the directions, the initial weights, the batches and the validation split.
    """

    kind = "reduced_mlp"
    inference_dtype = torch.float64

    def __init__(
        self,
        *,
        reduction: Literal["pca", "random"] = "pca",
        num_components: int = 16,
        hidden: int | None = None,
        max_parameters: int | None = None,
        training: TrainingOptions | None = None,
        seed: int = 0,
    ) -> None:
        self.reduction = reduction
        self.num_components = num_components
        self.hidden = hidden
        self.max_parameters = max_parameters
        self.training = training
        self.seed = seed

    def validate_options(self) -> None:
        super().validate_options()
        checks.choice("reduction", self.reduction, ("pca", "random"))
        checks.count("num_components", self.num_components)
        if self.hidden is not None:
            checks.count("hidden", self.hidden, low=0)
        if self.max_parameters is not None:
            checks.count("max_parameters", self.max_parameters)

    def build_module(
        self,
        num_features: int,
        num_classes: int,
        features: NDArray[np.float32] | None,
        sample_weight: NDArray[np.float64] | None = None,
    ) -> nn.Module:
        hidden = self.hidden_width(num_classes)
        generator = self.initialisation_generator()
        projection = _Projection(num_features, self.num_components)
        if features is not None:
            mean = np.average(features.astype(np.float64), axis=0, weights=sample_weight)
            directions = self._directions(features, mean, sample_weight, generator)
            squares = ((features - mean) @ directions) ** 2
            variance = np.average(squares, axis=0, weights=sample_weight).mean()
            directions = directions / np.sqrt(variance) if variance > 0 else directions
            projection.mean = torch.tensor(mean, dtype=torch.float32)
            projection.directions = torch.tensor(directions, dtype=torch.float32)
        layers = _mlp(self.num_components, hidden, num_classes, generator)
        return nn.Sequential(projection, *layers)

    def check_size(self, num_features: int, num_classes: int) -> None:
        self.hidden_width(num_classes)

    def hidden_width(self, num_classes: int) -> int:
        """Return the width of the hidden layer, 0 for none, for a number of classes.

        Raises:
            HeadError: No width fits `max_parameters`, or `hidden` does not.
        """
        k, budget = self.num_components, self.max_parameters
        if budget is None:
            return self.hidden or 0
        if self.hidden is not None:
            widths = [self.hidden]
        else:
            widths = [0, max(1, (budget - num_classes) // (k + 1 + num_classes))]
        fitting = [h for h in widths if mlp_size(k, h, num_classes) <= budget]
        if not fitting:
            least = min(mlp_size(k, h, num_classes) for h in widths)
            raise HeadError(
                f"Expected max_parameters of at least {least} for {k} components, "
                f"{num_classes} classes and hidden={self.hidden}, got {budget}. Lower "
                "num_components or raise max_parameters.",
                options=("num_components", "max_parameters", *(["hidden"] if self.hidden else [])),
            )
        return max(fitting, key=lambda h: mlp_size(k, h, num_classes))

    def _directions(
        self,
        features: NDArray[np.float32],
        mean: NDArray[np.float64],
        sample_weight: NDArray[np.float64] | None,
        generator: torch.Generator,
    ) -> NDArray[np.float64]:
        """Return directions (d, k)."""
        (n, d), k = features.shape, self.num_components
        if self.reduction == "random":
            return torch.randn(d, k, generator=generator, dtype=torch.float64).numpy()
        if k > min(n, d):
            raise HeadError(
                f"Expected num_components of at most {min(n, d)}, the smaller of n_samples = {n} "
                f"and n_features = {d}, for a PCA; got {k}.",
                options=["num_components"],
            )
        if sample_weight is not None:
            return principal_axes(np.sqrt(sample_weight)[:, None] * (features - mean), k).T
        # Both solvers are exact and draw nothing; each is the faster one on its side.
        solver = "covariance_eigh" if n > d else "full"
        with np.errstate(invalid="ignore"):  # its share of the variance, where there is none
            pca = PCA(n_components=k, svd_solver=solver).fit(features.astype(np.float64))
        directions: NDArray[np.float64] = pca.components_.T
        return directions


class _Projection(nn.Module):
    """(x - mean) · directions, both fixed."""

    mean: Tensor
    directions: Tensor

    def __init__(self, num_features: int, num_components: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features))  # (d,)
        self.register_buffer("directions", torch.zeros(num_features, num_components))  # (d, k)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) @ self.directions


def mlp_size(num_inputs: int, hidden: int, num_classes: int) -> int:
    """Return the number of parameters of an MLP of one hidden layer, or of none for 0."""
    if not hidden:
        return (num_inputs + 1) * num_classes
    return (num_inputs + 1) * hidden + (hidden + 1) * num_classes


def _mlp(
    num_inputs: int, hidden: int, num_classes: int, generator: torch.Generator
) -> list[nn.Module]:
    if not hidden:
        return [linear(num_inputs, num_classes, generator)]
    first = linear(num_inputs, hidden, generator)
    return [first, nn.ReLU(), linear(hidden, num_classes, generator)]


def logistic_regression(C: float = 1.0, *, standardise: bool = False) -> Pipeline:
    """Return scikit-learn's logistic regression.

    Embeddings of one sentence transformer have one scale in all dimensions; blowing the small
    ones up to variance 1 gained nothing on SST-2 and made C = 1 overfit, so it is an option.

    Args:
        C: Inverse strength of the ridge penalty.
        standardise: Whether to bring every feature to mean 0 and variance 1 first.

    Raises:
        HeadError: `C` is not positive.
    """
    C = checks.number("C", C, low=0, strict=True)
    return _pipeline(LogisticRegression(C=C, max_iter=5000), standardise)


def svc(
    kernel: Literal["linear", "rbf"] = "rbf", C: float = 1.0, *, standardise: bool = False
) -> Pipeline:
    """Return scikit-learn's support vector machine.

    Args:
        kernel: ``"linear"``, or ``"rbf"`` of width ``gamma="scale"``.
        C: Inverse strength of the penalty.
        standardise: Whether to bring every feature to mean 0 and variance 1 first.

    Raises:
        HeadError: An unknown kernel, or `C` is not positive.
    """
    checks.choice("kernel", kernel, ("linear", "rbf"))
    C = checks.number("C", C, low=0, strict=True)
    return _pipeline(SVC(kernel=kernel, C=C), standardise)


def _pipeline(estimator: Any, standardise: bool) -> Pipeline:
    steps = [StandardScaler(), estimator] if standardise else [estimator]
    return make_pipeline(*steps)


def num_trainable_parameters(estimator: Any) -> int:
    """Return the number of parameters that fitting has chosen with the labels' help.

    Heads report theirs. A linear model has its coefficients and intercepts (one set for two
    classes; for K classes, K sets in logistic regression and K(K-1)/2 in an SVC). A kernel
    machine has its non-zero dual coefficients and intercepts; its support vectors, n_sv · d
    further numbers that it must keep, are training samples and not counted. Of a pipeline the
    last step counts: scaling uses no labels.

    Raises:
        HeadError: The number is not known for an estimator of this type.
        NotFittedError: The estimator is not fitted.
    """
    if isinstance(estimator, TorchHead):
        return estimator.num_parameters
    check_is_fitted(estimator)
    if isinstance(estimator, Pipeline):
        return num_trainable_parameters(estimator[-1])
    for name in ("coef_", "dual_coef_"):  # a kernel machine has no coef_
        weights = getattr(estimator, name, None)
        if weights is not None:
            count = np.size(weights) if name == "coef_" else np.count_nonzero(weights)
            fitted = getattr(estimator, "fit_intercept", True)
            return int(count) + (np.size(estimator.intercept_) if fitted else 0)
    raise HeadError(
        "Expected a head, a linear model or a support vector machine, got "
        f"{type(estimator).__name__}."
    )


@dataclass(frozen=True)
class Selection:
    """The candidate with the highest validation accuracy; the first among equals."""

    estimator: Any  # fitted
    index: int  # among the candidates
    accuracies: tuple[float, ...]  # of all candidates, on the validation set

    @property
    def accuracy(self) -> float:
        """Validation accuracy of the one chosen: too high an estimate, for it was chosen by it."""
        return self.accuracies[self.index]


def select_on_validation(
    candidates: Sequence[Any], X: ArrayLike, y: ArrayLike, Xv: ArrayLike, yv: ArrayLike
) -> Selection:
    """Fit a clone of each candidate on (X, y) and choose by accuracy on (Xv, yv).

    Heads use the validation set for their best weights, too.

    Raises:
        HeadError: No candidate.
    """
    if not candidates:
        raise HeadError("No candidates to select from. Give at least one.")
    fitted = []
    for candidate in candidates:
        estimator = clone(candidate)
        options = {"validation": (Xv, yv)} if isinstance(estimator, TorchHead) else {}
        fitted.append(estimator.fit(X, y, **options))
    accuracies = tuple(float(estimator.score(Xv, yv)) for estimator in fitted)
    index = int(np.argmax(accuracies))
    return Selection(fitted[index], index, accuracies)
