"""How a head is trained where its circuit runs on a target."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass
from typing import Any, Literal

from qhead.checks import choice, count, number
from qhead.training_options import TrainingOptions

CHOICES: dict[str, tuple[str, ...]] = {
    "method": ("shift", "spsa"),
    "start": ("trained", "scratch"),
}


@dataclass(frozen=True)
class FinetuningOptions:
    """How a head is trained where its circuit runs on a target.

    What is not said here (penalties, class weights, schedule) is as in the head's own ``training``.

    Attributes:
        method: How the derivatives by the circuit's angles are measured. ``"shift"``, the parameter
            shift, runs two rows a rotation and sentence and is exact but for shots and noise;
            ``"spsa"`` runs two rows a direction and sentence, and its derivatives are noisy.
        start: Weights to start from. Those of the ``"trained"`` model, or those that its options
            and seed give before any training (``"scratch"``).
        train_encoders: Train the simulated encoders too. Their derivatives need those by the
            circuit's input angles, which take rows of their own. None: from scratch only.
        max_epochs: Passes over the training set.
        batch_size: Sentences per training step, whose rows run together.
        learning_rate: AdamW learning rate of the circuit's and the encoders' angles.
        readout_learning_rate: AdamW learning rate of the linear read-out.
        spsa_step: Shift of all angles at once in SPSA, in radians.
        spsa_directions: Random directions of each sentence in SPSA.

    Raises:
        HeadError: An option is out of its range.
    """

    method: Literal["shift", "spsa"] = "shift"
    start: Literal["trained", "scratch"] = "trained"
    train_encoders: bool | None = None
    max_epochs: int = 3
    batch_size: int = 64
    learning_rate: float = 0.02
    readout_learning_rate: float = 0.05
    spsa_step: float = 0.2
    spsa_directions: int = 1

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            choice(name, getattr(self, name), known)
        for name in ("max_epochs", "batch_size", "spsa_directions"):
            object.__setattr__(self, name, count(name, getattr(self, name)))
        for name in ("learning_rate", "readout_learning_rate", "spsa_step"):
            positive = number(
                name, getattr(self, name), low=0.0, strict=name != "readout_learning_rate"
            )
            object.__setattr__(self, name, positive)

    @property
    def encoders_too(self) -> bool:
        """Whether the encoders are trained."""
        return self.start == "scratch" if self.train_encoders is None else self.train_encoders

    def training(self, own: TrainingOptions | None, *, validated: bool) -> TrainingOptions:
        """Return the options of the training loop.

        Args:
            own: The head's own ``training``.
            validated: Whether there is a validation set, whose loss then chooses the weights.
        """
        return dataclasses.replace(
            own or TrainingOptions(),
            learning_rate=self.learning_rate,
            circuit_learning_rate=self.learning_rate,
            readout_learning_rate=self.readout_learning_rate,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            monitor="loss" if validated else "last",
            patience=None,
            validation_fraction=None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the options as a JSON-able dictionary."""
        return asdict(self)
