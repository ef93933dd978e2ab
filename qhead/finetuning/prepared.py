"""A training on a target but for the target: the head's copy, its inputs, the loop's options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import ArrayLike
from sklearn.base import clone
from torch import Tensor, nn

from hardware.workload import Workload
from qhead.checkpoints import begun_with
from qhead.classifier import TextClassifier
from qhead.data import LabelledTexts
from qhead.data.texts import label_array
from qhead.encoder.sentence_encoder import SentenceEncoder
from qhead.errors import HeadError
from qhead.finetuning.options import FinetuningOptions
from qhead.finetuning.price import Schedule, schedule
from qhead.finetuning.rows import RowRunner
from qhead.finetuning.step import AngleModule, MeasuredStep
from qhead.heads.quantum import QuantumHead
from qhead.heads.quantum_module import QuantumModule
from qhead.training import EVALUATION_CHUNK
from qhead.training_options import TrainingOptions

Pair = tuple[Sequence[str], ArrayLike]
Module = AngleModule | QuantumModule


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a training needs but the place where its rows run.

    Args:
        encoder: The sentence encoder.
        data: n sentences with their labels.
        head: The head with the weights to start from; nothing changes it.
        options: See `FinetuningOptions`.
        features: What the module takes: angles (n, Q), or embeddings (n, d) for the encoders.
        targets: Class indices (n,).
        validation: The same two of the validation set.
    """

    encoder: SentenceEncoder
    data: LabelledTexts
    head: QuantumHead
    options: FinetuningOptions
    features: Tensor
    targets: Tensor
    validation: tuple[Tensor, Tensor] | None

    @classmethod
    def of(
        cls,
        model: TextClassifier,
        texts: Sequence[str],
        labels: ArrayLike,
        validation: Pair | None,
        options: FinetuningOptions,
    ) -> Prepared:
        """Embed the sentences and copy the head, or make it anew from its options.

        Raises:
            HeadError: No quantum head, or one that is not trained where it should be.
            DataError: Sentences or labels that cannot be used.
        """
        data = _labelled(texts, labels, "texts")
        held = None if validation is None else _labelled(*validation, "validation texts")
        trained = hasattr(model, "head_")
        own = model.head_ if trained else model.head or QuantumHead()
        if not isinstance(own, QuantumHead):
            raise HeadError(
                f"The head {getattr(own, 'kind', type(own).__name__)!r} has no circuit to train on "
                "a target. Train a model with a quantum head."
            )
        if options.start == "trained" and not trained:
            raise HeadError(
                "The model is not trained: fit it first, or choose start='scratch'.",
                options=["start"],
            )
        classes = model.classes_ if trained else data.classes
        for part in (data, held):
            if part is not None:
                part.check_labels(classes.tolist())
        encoder = model.encoder_ if trained else model.open_encoder(len(classes))
        embeddings = torch.tensor(encoder.encode(data.texts))
        head = clone(own)
        if options.start == "trained":
            head.restore(own.state(), classes, own.n_features_in_)
        else:
            data.check_trainable()
            width = embeddings.shape[1]
            made = head.build_module(width, len(classes), embeddings.numpy())
            head.restore(made.state_dict(), classes, width)
        inputs = (
            [embeddings] if held is None else [embeddings, torch.tensor(encoder.encode(held.texts))]
        )
        if not options.encoders_too:
            inputs = [_angles(head, each) for each in inputs]
        pairs = [
            (each, head._targets(part.labels, "training"))
            for each, part in zip(inputs, [data] if held is None else [data, held], strict=True)
        ]
        return cls(encoder, data, head, options, *pairs[0], pairs[1] if held else None)

    @property
    def training(self) -> TrainingOptions:
        """The options of the loop."""
        return self.options.training(self.head.training, validated=self.validation is not None)

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.head.classes_)

    def module(self, runner: RowRunner) -> Module:
        """Return a new module with the weights to start from, whose rows a runner runs."""
        whole: Any = copied(self.head).module_
        step = MeasuredStep(
            whole.circuit, self.head.observables, whole.step.weight, self.options, runner
        )
        if not self.options.encoders_too:
            return AngleModule(step, whole.readout)
        parts = (whole.amplitudes, list(whole.encoders), whole.angle_scale, whole.circuit)
        return QuantumModule(*parts, step, whole.readout).train()

    def tuned(self, module: nn.Module) -> QuantumHead:
        """Return a new head with the weights of a module."""
        head, state = clone(self.head), {**self.head.state(), **module.state_dict()}
        head.restore(state, self.head.classes_, self.head.n_features_in_)
        return head

    def schedule(self, module: Module) -> Schedule:
        """Return the steps of the training."""
        return schedule(
            len(self.targets),
            self.options.batch_size,
            module.step.shifts.rows_per_sample,
            0 if self.validation is None else len(self.validation[1]),
            min(EVALUATION_CHUNK, getattr(module, "max_rows", EVALUATION_CHUNK)),
            self.options.max_epochs,
        )

    def batch_workload(self, module: Module, sentences: int) -> Workload:
        """Return the rows that the first training step of this many sentences takes."""
        angles = self._step_inputs(module, self.features[:sentences])
        return module.step.shifts.rows(module.step.values(angles)).workload

    def validation_workload(self, module: Module, sentences: int) -> Workload:
        """Return the rows of this many validation sentences, or of training ones without any."""
        features = self.features if self.validation is None else self.validation[0]
        return module.step.workload(self._step_inputs(module, features[:sentences]))

    def _step_inputs(self, module: Module, features: Tensor) -> Tensor:
        if isinstance(module, AngleModule):
            return features
        with torch.no_grad():
            return module.angles(features)

    def identity(self, target: str) -> dict[str, Any]:
        """Return what the module computes beyond its weights, JSON-able, for checkpoints."""
        own = self.head.identity(self.head.module_)
        return {**own, "target": target, "finetuning": self.options.to_dict()}

    def begun_with(self, module: Module, target: str, seed: int) -> dict[str, Any]:
        """Return all that decides the steps of the training, by name, JSON-able."""
        samples = {"features": self.features, "targets": self.targets}
        held = self.validation or (None, None)
        options, identity = self.training.to_dict(), self.identity(target)
        return begun_with(module, samples, held, options, seed, identity)


def copied(head: QuantumHead) -> QuantumHead:
    """Return a copy of a fitted head that shares no weight with it."""
    made: QuantumHead = clone(head).restore(head.state(), head.classes_, head.n_features_in_)
    return made


def _angles(head: QuantumHead, embeddings: Tensor) -> Tensor:
    """Return the circuit's angles (n, Q) of embeddings (n, d), float32."""
    num_angles = head.circuit.num_qubits
    return torch.tensor(head.workload(embeddings.numpy()).values[:, :num_angles]).float()


def _labelled(texts: Sequence[str], labels: ArrayLike, name: str) -> LabelledTexts:
    return LabelledTexts(tuple(texts), label_array(labels, name), name)
