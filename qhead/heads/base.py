"""What all heads trained by torch share: a scikit-learn classifier on embeddings."""

from __future__ import annotations

import copy
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from qhead import checks
from qhead.data.splits import allocate
from qhead.errors import HeadError, TrainingError, TrainingInterrupted
from qhead.heads.module_head import BATCHES, SPLIT, ModuleHead
from qhead.heads.softmax import probabilities_of
from qhead.targets import resolve_target
from qhead.training import compute_logits, train
from qhead.training_options import ProgressCallback, TrainingOptions, TrainingResult

if TYPE_CHECKING:
    from hardware.targets import ExecutionTarget


class TorchHead(ClassifierMixin, ModuleHead):  # type: ignore[misc, unused-ignore]
    """A classifier on embeddings (n, d) whose module is trained by `qhead.training.train`.

    A subclass sets `kind` (its key in `qhead.heads.HEADS`), has an `__init__` of keyword
    options that stores them unchanged (scikit-learn's convention; among them ``training`` and
    ``seed``), writes `build_module`, and checks its options in `validate_options`.

    Embeddings and weights are float32 inside, logits float64 outside. Everything random comes
    from `seed`; torch's global generator is neither read nor moved.

    Attributes:
        classes_: (K,) labels, sorted.
        n_features_in_: d.
        module_: The module, holding the best weights.
        history_: One `EpochRecord` per epoch, empty after `restore`.
        held_back_: (n,) which of the samples given to `fit` it held back to choose the weights;
            none of them where a validation set was given; None after `restore`.
        best_epoch_: The epoch, from 1, whose weights were kept; None after `restore`.
        stopped_: ``"completed"``, ``"early"`` (patience ran out), ``"interrupted"`` (Ctrl-C) or
            ``"diverged"``; None after `restore`.
        training_seconds_: Seconds spent in the epochs; None after `restore`.
    """

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        validation: tuple[ArrayLike, ...] | None = None,
        progress: ProgressCallback | None = None,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Train the head.

        Args:
            X: (n, d) embeddings.
            y: (n,) labels, integers or strings, of two classes or more.
            sample_weight: (n,) weights of the samples, at least 0; None: all equal. They weight
                the loss and whatever the head takes from the embeddings (a mean, a projection).
                A sample of weight 0 is left out.
            validation: (X, y), or (X, y, sample_weight), of the validation set. None: a stratified
                share (``training.validation_fraction``) of every class is held back, as far as the
                class can spare a sample. `TrainingOptions.monitor` says what it decides.
            progress: Called after every epoch with its record and the number planned.
            checkpoint: File to resume from, written after every epoch.

        Raises:
            HeadError: Options, embeddings or labels cannot be used.
            TrainingError: Training diverged. The head then holds the best weights before it.
            TrainingInterrupted: Ctrl-C after at least one epoch. The head then holds the best
                weights so far; catch it, or KeyboardInterrupt, to go on with them.
            CheckpointError: The checkpoint cannot be used, or is of another head or training.
        """
        self.validate_options()
        before = self.__dict__.copy()
        try:
            module, result = self._train(X, y, sample_weight, validation, progress, checkpoint)
        except BaseException:
            self.__dict__ = before  # as if `fit` had not been called
            raise
        if result.history:
            self._adopt(module, result)
        else:
            self.__dict__ = before
        if result.stopped == "diverged":
            options = self.training if self.training is not None else TrainingOptions()
            raise TrainingError(
                f"Training diverged in epoch {len(result.history) + 1}: a loss or a weight is NaN "
                f"or infinite. Lower the learning rate ({options.learning_rate}) or scale the "
                "embeddings."
            )
        if result.stopped == "interrupted":
            raise TrainingInterrupted
        return self

    def _train(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        validation: tuple[ArrayLike, ...] | None,
        progress: ProgressCallback | None,
        checkpoint: str | Path | None,
    ) -> tuple[nn.Module, TrainingResult]:
        """Return the trained module; sets some fitted attributes, even where it fails."""
        options = self.training if self.training is not None else TrainingOptions()
        if validation is not None:
            checks.data_set("validation", validation, ("X", "y"), ("sample_weight",))
        features, labels = self._labelled(X, y, reset=True)
        weights = checks.sample_weights(sample_weight, len(labels))
        used = np.ones(len(labels), dtype=bool) if weights is None else weights > 0
        self.classes_ = np.unique(labels[used])
        if len(self.classes_) < 2:
            raise HeadError(
                f"Expected labels of at least two classes, got one class: {self.classes_[0]!r}."
            )
        held = np.zeros(len(labels), dtype=bool)
        if validation is None:
            rng = np.random.default_rng([int(self.seed), SPLIT])
            targets = np.searchsorted(self.classes_, labels[used])
            held[used] = held_out(targets, options.held_back_fraction(len(targets)), rng)
            validation = _rows(held, features, labels, weights) if held.any() else None
        else:
            X_held, y_held, *weight_held = validation
            validation = (*self._labelled(X_held, y_held, reset=False), *weight_held)
        self.held_back_ = held
        features, labels, *trained = _rows(used & ~held, features, labels, weights)
        train_weight = trained[0] if trained else None
        module = self.build_module(features.shape[1], len(self.classes_), features, train_weight)
        pair, validation_weight = None, None
        if validation is not None:
            known = np.asarray(validation[1])
            pair = torch.tensor(validation[0]), self._targets(known, "validation")
            given = validation[2] if len(validation) > 2 else None
            validation_weight = checks.sample_weights(given, len(pair[1]))
        result = train(
            module,
            torch.tensor(features),
            self._targets(labels, "training"),
            pair,
            options,
            seed=self._stream(BATCHES),
            num_classes=len(self.classes_),
            progress=progress,
            checkpoint=None if checkpoint is None else Path(checkpoint),
            identity=self.identity(module),
            sample_weight=_tensor(train_weight),
            validation_weight=_tensor(validation_weight),
        )
        return module, result

    def _adopt(self, module: nn.Module, result: TrainingResult) -> None:
        self.module_ = module
        self.history_ = result.history
        self.best_epoch_ = result.best_epoch
        self.stopped_ = result.stopped
        self.training_seconds_ = sum(record.seconds for record in result.history)

    def _targets(self, labels: NDArray[Any], role: str) -> torch.Tensor:
        """Return the class index of each label, (n,) int64."""
        unseen = np.setdiff1d(labels, self.classes_)
        if unseen.size:
            raise HeadError(
                f"Expected {role} labels among those of the training set "
                f"({_listed(self.classes_)}), got {_listed(unseen)} as well."
            )
        return torch.tensor(np.searchsorted(self.classes_, labels))

    def _labelled(self, X: ArrayLike, y: ArrayLike, *, reset: bool) -> tuple[NDArray[Any], ...]:
        """Return X as (n, d) float32 and y as (n,) labels."""
        if problem := checks.label_problem(y):
            raise HeadError(problem)
        features, labels = self._validated(X, y, reset=reset)
        if labels.dtype == object and all(isinstance(label, Integral) for label in labels):
            labels = np.array(labels.tolist())  # scikit-learn takes objects for no labels
        try:
            check_classification_targets(labels)
        except ValueError as error:
            raise HeadError(
                f"{error} Expected labels of shape (n,), integers or strings."
            ) from error
        return features, labels

    def _validated(self, X: ArrayLike, y: Any = "no_validation", *, reset: bool) -> Any:
        """Return X as (n, d) float32, and y where given, checked by scikit-learn."""
        try:
            return validate_data(self, X, y, reset=reset, dtype=np.float32)
        except ValueError as error:
            # The same message as an error of ours, so that a command ends with exit code 2.
            raise HeadError(str(error)) from error

    def logits(
        self, X: ArrayLike, *, target: ExecutionTarget | str | None = None
    ) -> NDArray[np.float64]:
        """Return logits (n, K) of embeddings (n, d).

        Args:
            X: (n, d) embeddings.
            target: Where the quantum step runs, as a target or its specification, e.g.
                ``"shots:1024"``, whose shots are then drawn from the head's seed; None: exactly,
                here.

        Raises:
            HeadError: Embeddings that cannot be used, or a target for a head without a
                quantum step.
            UnknownTargetError: No target has this specification.
        """
        check_is_fitted(self, "module_")
        target = resolve_target(target, seed=self.seed)
        features = self._validated(X, reset=False)
        if target is not None and target.spec != "exact":
            raise HeadError(
                f"The target {target.spec!r} needs a circuit, and the head {self.kind!r} has none. "
                "Use 'exact', or a quantum head."
            )
        module = self.module_
        if self.inference_dtype != torch.float32:
            module = copy.deepcopy(module).to(self.inference_dtype)
        logits = compute_logits(module, torch.tensor(features, dtype=self.inference_dtype))
        return logits.numpy().astype(np.float64)

    def decision_function(
        self, X: ArrayLike, *, target: ExecutionTarget | str | None = None
    ) -> NDArray[np.float64]:
        """Return logits (n, K), or for two classes their difference (n,), as scikit-learn does."""
        logits = self.logits(X, target=target)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(
        self, X: ArrayLike, *, target: ExecutionTarget | str | None = None
    ) -> NDArray[np.float64]:
        """Return probabilities (n, K), in the order of `classes_`; rows sum to one."""
        return probabilities_of(self.logits(X, target=target))

    def predict(self, X: ArrayLike, *, target: ExecutionTarget | str | None = None) -> NDArray[Any]:
        """Return labels (n,)."""
        logits = self.logits(X, target=target)
        return self.classes_[logits.argmax(axis=1)]


def held_out(
    targets: NDArray[np.int64], fraction: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Mark (n,) samples to hold back, as many of each class as `qhead.data` would."""
    mask = np.zeros(len(targets), dtype=bool)
    members = [rng.permutation(np.flatnonzero(targets == k)) for k in np.unique(targets)]
    counts = allocate([len(rows) for rows in members], fraction, rng)
    for rows, count in zip(members, counts, strict=True):
        mask[rows[:count]] = True
    return mask


def _rows(mask: NDArray[np.bool_], *arrays: NDArray[Any] | None) -> tuple[NDArray[Any], ...]:
    """Return the masked rows of the arrays that are not None."""
    return tuple(array[mask] for array in arrays if array is not None)


def _tensor(array: NDArray[np.float64] | None) -> torch.Tensor | None:
    return None if array is None else torch.tensor(array)


def _listed(labels: NDArray[Any]) -> str:
    return ", ".join(repr(label) for label in labels[:10].tolist()) + (
        ", …" if len(labels) > 10 else ""
    )
