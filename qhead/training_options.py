"""How a head is trained, as options, and what a training reports."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hardware.errors import did_you_mean
from qhead.checks import choice, count, number
from qhead.errors import HeadError

#: A validation set of fewer samples decides nothing by default: at 50 the standard error of an
#: accuracy of 75 % is 6 points.
FEW_VALIDATION = 50
# Defaults of options that the data decide.
_EPOCHS, _STEPS, _FRACTION = 40, 400, 0.15

Stop = Literal["completed", "early", "interrupted", "diverged"]

CHOICES: dict[str, tuple[str | None, ...]] = {
    "schedule": ("cosine", "constant"),
    "monitor": (None, "loss", "accuracy", "last"),
    "class_weight": (None, "balanced"),
}


@dataclass(frozen=True)
class TrainingOptions:
    """How a head is trained.

    Attributes:
        learning_rate: AdamW learning rate. The schedule starts with it.
        readout_learning_rate: AdamW learning rate of the linear read-out. None: three times
            `learning_rate`. It acts on a module's ``readout``, where there is one: its weights
            have farther to go than angles.
        circuit_learning_rate: AdamW learning rate of the circuit's angles. None: a tenth of
            `learning_rate` for a circuit that starts as the identity, else `learning_rate`. It acts
            on a quantum head's ``step``. Such a circuit soon learns a few sentences by heart.
        weight_decay: AdamW weight decay.
        ridge: Penalty on the read-out's weights, like 1/C of logistic regression. None: 1, or 10
            for two classes. With weights W of a module's ``readout``, ridge / (2n) · ‖W‖² is added
            to the mean loss over n samples, as in logistic regression of K ≥ 3 classes; two
            classes share two rows of W.
        max_epochs: Passes over the training set. None: 40, or as many as make 400 steps.
        batch_size: Sentences per training step. The last batch of an epoch may be smaller; no
            sample is dropped.
        schedule: Learning rate over the epochs. ``"cosine"`` lowers it after every epoch along half
            a cosine that would reach zero after `max_epochs`; ``"constant"`` keeps it.
        patience: Epochs without improvement after which training stops. None: never.
        monitor: How to choose the epoch whose weights are kept. None: loss with 50 validation
            samples or more, else last. The lowest validation ``"loss"``, the highest validation
            ``"accuracy"`` with ties broken by the lower loss (without a validation set the training
            loss, without the penalty), or the ``"last"`` epoch. On a small validation set the best
            epoch is a matter of luck.
        class_weight: How to weight the classes. None: all alike. ``"balanced"`` weights a class by
            n / (num_classes · its count).
        validation_fraction: Fraction held out for validation. None: 0.15, but 0 where that would be
            fewer than 50 samples. A head holds out this share of every class when `fit` gets no
            validation set; 0 holds out nothing.

    Raises:
        HeadError: An option is out of its range.
    """

    learning_rate: float = 0.02
    readout_learning_rate: float | None = None
    circuit_learning_rate: float | None = None
    weight_decay: float = 0.0
    ridge: float | None = None
    max_epochs: int | None = None
    batch_size: int = 64
    schedule: Literal["cosine", "constant"] = "cosine"
    patience: int | None = None
    monitor: Literal["loss", "accuracy", "last"] | None = None
    class_weight: Literal["balanced"] | None = None
    validation_fraction: float | None = None

    def __post_init__(self) -> None:
        # Plain Python numbers, whatever came (NumPy's are no JSON).
        checked: dict[str, float | None] = {
            "learning_rate": number("learning_rate", self.learning_rate, low=0.0, strict=True),
            "weight_decay": number("weight_decay", self.weight_decay, low=0.0),
            "batch_size": count("batch_size", self.batch_size),
        }
        for name in ("readout_learning_rate", "circuit_learning_rate", "ridge"):
            value = getattr(self, name)
            checked[name] = None if value is None else number(name, value, low=0.0)
        if self.validation_fraction is not None:
            name = "validation_fraction"
            checked[name] = number(name, self.validation_fraction, low=0.0, high=1.0)
        if self.max_epochs is not None:
            checked["max_epochs"] = count("max_epochs", self.max_epochs)
        if self.patience is not None:
            checked["patience"] = count("patience", self.patience)
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        for name, known in CHOICES.items():
            choice(name, getattr(self, name), known)

    def resolved(self, num_samples: int, num_validation: int, num_classes: int) -> TrainingOptions:
        """Return the options with the numbers that those left to the data come to.

        Args:
            num_samples: Samples of the training set.
            num_validation: Samples of the validation set, 0 without one.
            num_classes: K.
        """
        steps = math.ceil(num_samples / self.batch_size)  # an epoch
        epochs = self.max_epochs or max(_EPOCHS, math.ceil(_STEPS / steps))
        monitor = self.monitor or ("last" if num_validation < FEW_VALIDATION else "loss")
        ridge = self.ridge if self.ridge is not None else (10.0 if num_classes == 2 else 1.0)
        return dataclasses.replace(self, max_epochs=epochs, monitor=monitor, ridge=ridge)

    def held_back_fraction(self, num_samples: int) -> float:
        """Return the share of `num_samples` that a head holds back as validation set."""
        if self.validation_fraction is not None:
            return self.validation_fraction
        return 0.0 if _FRACTION * num_samples < FEW_VALIDATION else _FRACTION

    def to_dict(self) -> dict[str, Any]:
        """Return the options as a JSON-able dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingOptions:
        """Return options from a dictionary of `to_dict`; a missing key takes its default.

        Raises:
            HeadError: An unknown key, or a value out of range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise HeadError(
                    f"Expected training options among {', '.join(known)}, got {key!r}."
                    f"{did_you_mean(str(key), known)}"
                )
        return cls(**values)


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of training."""

    epoch: int  # from 1
    train_loss: float  # mean over the epoch, while the weights moved; nats
    validation_loss: float | None  # nats, after the epoch; None without a validation set
    validation_accuracy: float | None  # in [0, 1]
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class TrainingResult:
    """The course of a training; the weights themselves are in the module."""

    history: tuple[EpochRecord, ...]
    best_epoch: int  # from 1: that after which the module's weights were copied; 0 without any
    stopped: Stop


ProgressCallback = Callable[[EpochRecord, int], None]


def learning_rate_at(options: TrainingOptions, epoch: int) -> float:
    """Return the learning rate of an epoch, counted from 1."""
    if options.schedule == "constant":
        return options.learning_rate
    if options.max_epochs is None:
        message = "The cosine schedule needs max_epochs, or `TrainingOptions.resolved`."
        raise HeadError(message, options=["max_epochs"])
    turn = math.pi * (epoch - 1) / options.max_epochs
    return options.learning_rate * (1 + math.cos(turn)) / 2
