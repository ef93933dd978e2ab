"""What all heads trained by torch share: a scikit-learn classifier on embeddings."""

from __future__ import annotations

import abc
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from qhead import checks
from qhead.data.splits import allocate
from qhead.errors import HeadError, ModelError, TrainingError, TrainingInterrupted
from qhead.targets import resolve_target
from qhead.training import (
    EpochRecord,
    ProgressCallback,
    TrainingOptions,
    TrainingResult,
    compute_logits,
    train,
)

if TYPE_CHECKING:
    from hardware.targets import ExecutionTarget

# Purposes that draw random numbers from a head's one seed, each a stream of its own.
_INITIALISATION, _SPLIT, _BATCHES = range(3)

# Libraries whose next major version may train other weights from the same seed.
_VERSIONS = ("torch", "qiskit", "numpy", "scikit-learn")


@dataclass(frozen=True)
class HeadSummary:
    """The size of a fitted head; circuit figures are None for a head without a circuit.

    Gates outside the light cone of the measured qubits change nothing: simulators, emulations and
    their noise leave them out.
    """

    kind: str
    num_parameters: int  # trainable
    num_effective_parameters: int  # that can influence the output
    num_qubits: int | None = None
    depth: int | None = None
    num_two_qubit_gates: int | None = None
    num_two_qubit_gates_in_cone: int | None = None

    @property
    def two_qubit_gates(self) -> str:
        """The circuit's two-qubit gates in words, those in the light cone counted too."""
        words = f"{self.num_two_qubit_gates} two-qubit gates"
        if self.num_two_qubit_gates_in_cone != self.num_two_qubit_gates:
            words += (
                f", {self.num_two_qubit_gates_in_cone} in the light cone of the measured qubits"
            )
        return words


class TorchHead(ClassifierMixin, BaseEstimator, abc.ABC):  # type: ignore[misc, unused-ignore]
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

    kind: ClassVar[str]
    #: Arithmetic of `logits` (the weights are float32). In float64 the logits of a row do not
    #: depend on the number of rows beside it, on which the order of summation does.
    inference_dtype: ClassVar[torch.dtype] = torch.float32

    training: TrainingOptions | None
    seed: int

    classes_: NDArray[Any]
    n_features_in_: int
    module_: nn.Module
    history_: tuple[EpochRecord, ...]
    held_back_: NDArray[np.bool_] | None
    best_epoch_: int | None
    stopped_: str | None
    training_seconds_: float | None

    @abc.abstractmethod
    def build_module(
        self,
        num_features: int,
        num_classes: int,
        features: NDArray[np.float32] | None,
        sample_weight: NDArray[np.float64] | None = None,
    ) -> nn.Module:
        """Return a module that maps (n, num_features) float32 to logits (n, num_classes).

        Args:
            num_features: d.
            num_classes: K.
            features: (n, d) training embeddings, for fixed parts that depend on them (a mean, a
                projection), which belong into buffers; None when a state is restored: whatever
                is as large as d or an option asks is then made by torch, on its default device.
            sample_weight: (n,) weights of the training embeddings, above 0; None: all equal.

        Random numbers come from `initialisation_generator` alone.
        """

    def check_size(self, num_features: int, num_classes: int) -> None:
        """Check that a module can be built for d features and K classes, without building it.

        Raises:
            HeadError: It cannot.
        """

    def validate_options(self) -> None:
        """Check all options; subclasses extend it.

        Raises:
            HeadError: An option is out of its range.
        """
        if self.training is not None and not isinstance(self.training, TrainingOptions):
            raise HeadError(f"Expected training to be TrainingOptions, got {self.training!r}.")
        checks.count("seed", self.seed, low=0)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the options, and if `deep` each training option as ``training__NAME``."""
        params: dict[str, Any] = super().get_params(deep=deep)
        if deep:
            training = self.training
            if not isinstance(training, TrainingOptions):  # None; `fit` refuses anything else
                training = TrainingOptions()
            params |= {f"training__{name}": v for name, v in training.to_dict().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set options; ``training__NAME=value`` replaces one training option.

        Raises:
            HeadError: A training option is unknown or out of its range.
        """
        nested = {n: v for n, v in params.items() if n.startswith("training__")}
        super().set_params(**{n: v for n, v in params.items() if n not in nested})
        if nested:
            training = self.training if self.training is not None else TrainingOptions()
            changed = {name.removeprefix("training__"): v for name, v in nested.items()}
            # A new object: the old one may belong to the head that this one was cloned from.
            self.training = TrainingOptions.from_dict({**training.to_dict(), **changed})
        return self

    def initialisation_generator(self) -> torch.Generator:
        """Return a new generator for the module's random initialisation."""
        return torch.Generator().manual_seed(self._stream(_INITIALISATION))

    def _stream(self, purpose: int) -> int:
        sequence = np.random.SeedSequence([int(self.seed), purpose])
        # torch seeds are signed 64-bit integers.
        return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))

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
            rng = np.random.default_rng([int(self.seed), _SPLIT])
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
            seed=self._stream(_BATCHES),
            num_classes=len(self.classes_),
            progress=progress,
            checkpoint=None if checkpoint is None else Path(checkpoint),
            identity=self.identity(module),
            sample_weight=_tensor(train_weight),
            validation_weight=_tensor(validation_weight),
        )
        return module, result

    @classmethod
    def completed(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return recorded options with those that an earlier edition did not record."""
        return options

    def identity(self, module: nn.Module) -> dict[str, Any]:
        """Return what `module` computes beyond its weights, JSON-able, for a checkpoint.

        All options of the head but ``training``, and the versions on which the result may depend.
        """
        options = {n: v for n, v in self.config()["options"].items() if n != "training"}
        versions = {name: version(name).split(".")[0] for name in _VERSIONS}
        return {
            "head": {"kind": self.kind, **options},
            "versions": {"qhead": version("qhead"), **versions},
        }

    def circuits_sha256(self) -> str | None:
        """Return a hash over the gates of all circuits of the fitted head; None without any."""
        return None

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
        logits = self.logits(X, target=target)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def predict(self, X: ArrayLike, *, target: ExecutionTarget | str | None = None) -> NDArray[Any]:
        """Return labels (n,)."""
        logits = self.logits(X, target=target)
        return self.classes_[logits.argmax(axis=1)]

    @property
    def num_parameters(self) -> int:
        """Number of trainable parameters of the fitted head."""
        check_is_fitted(self, "module_")
        return sum(p.numel() for p in self.module_.parameters() if p.requires_grad)

    @property
    def num_effective_parameters(self) -> int:
        """Number of trainable parameters of the fitted head that can influence its output."""
        return self.num_parameters

    def summary(self) -> HeadSummary:
        """Return the size of the fitted head."""
        return HeadSummary(self.kind, self.num_parameters, self.num_effective_parameters)

    def config(self) -> dict[str, Any]:
        """Return ``{"kind": …, "options": {…}}``, JSON-able, from which `from_config` builds.

        Raises:
            HeadError: An option is out of its range.
        """
        self.validate_options()
        options = {name: _plain(value) for name, value in self.get_params(deep=False).items()}
        return {"kind": self.kind, "options": options}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TorchHead:
        """Return an unfitted head of the kind and options of `config`.

        Raises:
            HeadError: Keys are missing or unknown, or a value is out of its range.
        """
        from qhead.heads import HEADS, make_head

        if not isinstance(config, Mapping) or set(config) != {"kind", "options"}:
            raise HeadError(
                "Expected a head configuration with the keys 'kind' and 'options', got "
                f"{sorted(config) if isinstance(config, Mapping) else config!r}."
            )
        options = config["options"]
        if not isinstance(options, Mapping):
            raise HeadError(f"Expected the options of a head as a mapping, got {options!r}.")
        options = HEADS[config["kind"]].completed(options) if config["kind"] in HEADS else options
        options = dict(options)
        if isinstance(options.get("training"), Mapping):
            options["training"] = TrainingOptions.from_dict(options["training"])
        head = make_head(config["kind"], **options)
        if not isinstance(head, cls):
            raise HeadError(f"Expected a configuration of {cls.__name__}, got {config['kind']!r}.")
        return head

    def state(self) -> dict[str, torch.Tensor]:
        """Return parameters and buffers of the fitted head by name, copied."""
        check_is_fitted(self, "module_")
        state = self.module_.state_dict()
        return {name: t.detach().clone().contiguous() for name, t in state.items()}

    def restore(
        self, state: Mapping[str, torch.Tensor], classes: ArrayLike, num_features: int
    ) -> Self:
        """Turn this head into the fitted one whose `state` is given.

        Args:
            state: What `state` returned.
            classes: (K,) labels, sorted, the fitted head's `classes_`.
            num_features: d, the fitted head's `n_features_in_`.

        Raises:
            HeadError: Options out of range.
            ModelError: State, classes and options do not fit together.
        """
        self.validate_options()
        labels = np.asarray(classes)
        if labels.ndim != 1 or len(labels) < 2 or not np.array_equal(labels, np.unique(labels)):
            raise ModelError(f"Expected two or more sorted, different labels, got {classes!r}.")
        if not isinstance(num_features, Integral) or num_features < 1:
            raise ModelError(f"Expected a number of features of 1 or more, got {num_features!r}.")
        module = self._module_with(state, int(num_features), len(labels))
        self.classes_, self.n_features_in_, self.module_ = labels, int(num_features), module
        self.history_, self.held_back_, self.best_epoch_ = (), None, None
        self.stopped_, self.training_seconds_ = None, None
        return self

    def _module_with(
        self, state: Mapping[str, torch.Tensor], num_features: int, num_classes: int
    ) -> nn.Module:
        """Return the module that holds a state, of whose size alone it takes memory."""
        try:
            with torch.device("meta"):  # shapes without numbers
                module = self.build_module(num_features, num_classes, None)
            types = {name: tensor.dtype for name, tensor in module.state_dict().items()}
            module.load_state_dict({k: t.detach().clone() for k, t in state.items()}, assign=True)
        except (RuntimeError, TypeError) as error:  # torch's, of sizes beyond its integers too
            reason = " ".join(str(error).partition("Exception raised")[0].split())
            raise ModelError(f"The weights do not fit the head's options: {reason}") from error
        for name, tensor in state.items():
            if tensor.dtype != types[name]:
                raise ModelError(f"Expected {name!r} of type {types[name]}, got {tensor.dtype}.")
            if not torch.isfinite(tensor).all():
                raise ModelError(f"Expected finite values of {name!r}, got NaN or infinity.")
        return module.eval()


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


def _plain(value: Any) -> Any:
    """Return an option as JSON takes it."""
    if isinstance(value, TrainingOptions):
        return value.to_dict()
    return value.item() if isinstance(value, np.generic) else value


def _listed(labels: NDArray[Any]) -> str:
    return ", ".join(repr(label) for label in labels[:10].tolist()) + (
        ", …" if len(labels) > 10 else ""
    )
