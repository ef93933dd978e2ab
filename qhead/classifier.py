"""TextClassifier: a sentence encoder and a head, by scikit-learn's conventions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from hardware.circuits.adaptive import AdaptiveShots
from hardware.devices.login import Account
from hardware.devices.named import is_device
from hardware.planning.options import PlanOptions
from hardware.targets import ExecutionTarget
from qhead import checks
from qhead.data.texts import LabelledTexts, check_sentences, label_array
from qhead.encoder.cache import EmbeddingCache
from qhead.encoder.sentence_encoder import Progress, SentenceEncoder
from qhead.errors import (
    DataError,
    HeadError,
    InputError,
    TrainingInterrupted,
)
from qhead.evaluation import Evaluation, check_labels, evaluate_prediction
from qhead.heads import HEADS, TorchHead
from qhead.prediction import Prediction, predict_head
from qhead.predictor import finite_embeddings
from qhead.provenance import current_versions, training_record
from qhead.runs.device_methods import DeviceMethods
from qhead.runs.metadata import SavedModel
from qhead.runs.run import RunProgress
from qhead.saving.encoder import check_encoder, encoder_record, open_encoder
from qhead.saving.folder import read_model, write_model
from qhead.saving.head import pack, unpack
from qhead.targets import resolve_target
from qhead.training import ProgressCallback


class TextClassifier(DeviceMethods, ClassifierMixin, BaseEstimator):  # type: ignore[misc, unused-ignore]
    """A classifier of sentences: frozen sentence encoder, then a head trained on its embeddings.

    Args:
        encoder: A `SentenceEncoder`, the id or folder of a sentence-transformers model, or None
            for the model that ships with the project.
        head: A head of `qhead.heads`, any scikit-learn classifier, or None for a `QuantumHead`
            with its defaults. `fit` trains a clone.

    Attributes:
        classes_: The K labels, sorted.
        encoder_: The `SentenceEncoder` in use.
        head_: The trained head.
        data_: Number, classes and fingerprint of the sentences that were trained on, and how many
            of those given to `fit` the head held back to choose its weights.
        metrics_: Scores that the model carries with it when saved, by the part of the data they
            are of: `Evaluation.as_dict()`. Empty until someone fills it.
        versions_: Versions of the packages that trained it.
        saved_: Folder and fingerprints of the saved model; None before `save` or `load`.

    A device as `target` (``"fake:fez"``, ``"ibm:best"``) plans the sentences, sends them within
    `budget` through the ledger and waits; `plan`, `submit` and `qhead.Run` are its steps. Any other
    specification given as `target` draws its shots from the head's seed (0 where it has none),
    so that the same call gives the same result; pass a target for another seed.
    """

    def __init__(
        self,
        encoder: SentenceEncoder | str | os.PathLike[str] | None = None,
        head: TorchHead | Any | None = None,
    ) -> None:
        self.encoder = encoder
        self.head = head

    def fit(
        self,
        texts: Sequence[str],
        labels: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        validation: tuple[Sequence[str], ArrayLike] | None = None,
        progress: ProgressCallback | None = None,
        embedding_progress: Progress | None = None,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Embed n sentences and train the head on them.

        Args:
            texts: n sentences.
            labels: n labels, integers or strings, of at least two classes.
            sample_weight: (n,) weights of the sentences in training, at least 0; None: all equal.
            validation: Sentences and labels that choose the best weights; None lets the head
                hold some of the n back (`TrainingOptions.validation_fraction`; `data_` says how
                many). Scikit-learn's classifiers do not use it.
            progress: Called after each epoch of training.
            embedding_progress: Called as sentences are embedded.
            checkpoint: File from which an interrupted training of the head goes on.

        Raises:
            DataError: Empty or over-long sentences, counts that differ, one class only.
            EncoderError: The encoder cannot be loaded, or gives NaN.
            HeadError: Options that do not fit together or do not fit the embeddings.
            TrainingInterrupted: Ctrl-C after at least one epoch. The classifier then holds the
                best weights so far; catch it, or KeyboardInterrupt, to go on with them.
        """
        data = LabelledTexts(tuple(check_sentences(texts)), label_array(labels, "labels"), "texts")
        data.check_trainable()
        weights = checks.sample_weights(sample_weight, len(data))
        encoder = self.open_encoder(len(data.classes))
        pair = None
        if validation is not None:
            checks.data_set("validation", validation, ("texts", "labels"))
            sentences = check_sentences(validation[0])
            truth = label_array(validation[1], "validation labels")
            held_out = LabelledTexts(tuple(sentences), truth, "validation texts")
            held_out.check_labels(data.classes.tolist())
            pair = (finite_embeddings(encoder, sentences, embedding_progress), held_out.labels)
        return self.fit_embedded(
            encoder,
            data,
            finite_embeddings(encoder, data.texts, embedding_progress),
            sample_weight=weights,
            validation=pair,
            progress=progress,
            checkpoint=checkpoint,
        )

    def fit_embedded(
        self,
        encoder: SentenceEncoder,
        data: LabelledTexts,
        embeddings: np.ndarray,
        sample_weight: ArrayLike | None = None,
        *,
        validation: tuple[np.ndarray, ...] | None = None,
        progress: ProgressCallback | None = None,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Train the head on sentences whose embeddings (n, d) `encoder` has made already.

        Args:
            encoder: The encoder that made them and will make those of new sentences.
            data: n sentences with labels.
            embeddings: Their embeddings, shape (n, d).
            sample_weight: As for `fit`.
            validation: Embeddings and labels, and weights if any, of the held-out sentences.
            progress, checkpoint: As for `fit`.
        """
        data.check_trainable()
        head = self._make_head()
        if isinstance(head, TorchHead):
            try:
                head.fit(
                    embeddings,
                    data.labels,
                    sample_weight,
                    validation=validation,
                    progress=progress,
                    checkpoint=checkpoint,
                )
            except TrainingInterrupted:
                self._adopt(encoder, head, data, sample_weight)
                raise
        elif checkpoint is not None:
            raise InputError(
                f"Expected no checkpoint for {type(head).__name__}, got {str(checkpoint)!r}: "
                "only heads trained epoch by epoch go on from one."
            )
        else:
            head.fit(embeddings, data.labels, **_weight_options(head, sample_weight))
        self._adopt(encoder, head, data, sample_weight)
        return self

    def _adopt(
        self, encoder: SentenceEncoder, head: Any, data: LabelledTexts, weight: ArrayLike | None
    ) -> None:
        self.encoder_, self.head_ = encoder, head
        self.classes_ = head.classes_
        self.data_: dict[str, Any] = training_record(
            data, getattr(head, "held_back_", None), weight
        )
        self.metrics_: dict[str, Any] = {}
        self.versions_ = current_versions()
        self.saved_ = None

    def predict(
        self,
        texts: Sequence[str],
        target: ExecutionTarget | str | None = None,
        *,
        budget: float | None = None,
        account: Account | None = None,
        adaptive: AdaptiveShots | bool = False,
    ) -> np.ndarray:
        """Return the label of each sentence, shape (n,).

        Args:
            texts: n sentences.
            target: Where the circuits run; None is exact.
            budget: QPU seconds that a run on a device may use; required on a real one.
            account: Which account and instance of the platform; None: the client's default.
            adaptive: As for `predict_detailed`.

        Raises:
            HardwareError, MissingRowsError: As `predict_detailed`.
        """
        check_is_fitted(self, "head_")
        plain = budget is None and adaptive is False and not is_device(target)
        if not plain or self._resolve(target) is not None:
            return self.predict_detailed(
                texts, target, budget=budget, account=account, adaptive=adaptive
            ).labels
        labels: np.ndarray = self.head_.predict(self.embed(texts))
        return labels

    def predict_proba(
        self,
        texts: Sequence[str],
        target: ExecutionTarget | str | None = None,
        *,
        budget: float | None = None,
        account: Account | None = None,
    ) -> np.ndarray:
        """Return the probability of each class, shape (n, K), columns as in `classes_`.

        The arguments and errors are those of `predict`.
        """
        return self.predict_detailed(texts, target, budget=budget, account=account).probabilities

    def predict_detailed(
        self,
        texts: Sequence[str],
        target: ExecutionTarget | str | None = None,
        *,
        budget: float | None = None,
        progress: RunProgress = True,
        account: Account | None = None,
        adaptive: AdaptiveShots | bool = False,
    ) -> Prediction:
        """Return labels, probabilities and what the target's shot noise leaves of them.

        Args:
            texts, target, budget, account: As for `predict`.
            progress: Of a run on a device: called with its `RunStatus`; True draws a bar.
            adaptive: Spend the target's shots in rounds, on sentences whose label is undecided;
                True: in the default ones. See `hardware.circuits.adaptive`.

        Raises:
            DataError: An empty or over-long sentence.
            HeadError: A target other than exact for a head that runs no circuit.
            BudgetError: No budget for a real device, or one below the estimate.
            HardwareError: The device or the platform failed; the run can be resumed.
            MissingRowsError: Rows of a run on a device have no result yet.
        """
        check_is_fitted(self, "head_")
        if isinstance(target, str) and is_device(target):
            options = PlanOptions(
                seed=getattr(self.head_, "seed", 0), adaptive=AdaptiveShots.of(adaptive)
            )
            return self.predict_on_device(
                texts, target, options, budget=budget, progress=progress, account=account
            )
        if budget is not None:
            raise InputError(
                f"Expected a budget with a device, such as fake:NAME or ibm:NAME, got the target "
                f"{'exact' if target is None else target!r}, which charges nothing. Leave it out."
            )
        where = self._resolve(target)
        rounds = AdaptiveShots.of(adaptive)
        return predict_head(self.head_, self.embed(texts), where, adaptive=rounds)

    def score(
        self,
        texts: Sequence[str],
        labels: ArrayLike,
        target: ExecutionTarget | str | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        budget: float | None = None,
    ) -> float:
        """Return the accuracy, weighted by sample where weights (n,) are given.

        A label unseen in training is an error, not a miss.
        """
        check_is_fitted(self, "head_")
        truth = label_array(labels, "labels")
        if truth.shape != (len(texts),):
            raise DataError(f"Expected {len(texts)} labels, one per sentence, got {truth.shape}.")
        check_labels(truth, self.classes_)
        weights = checks.sample_weights(sample_weight, len(truth))
        found = self.predict(texts, target, budget=budget)
        return float(np.average(found == truth, weights=weights))

    def evaluate(
        self,
        texts: Sequence[str],
        labels: ArrayLike,
        target: ExecutionTarget | str | None = None,
        *,
        budget: float | None = None,
    ) -> Evaluation:
        """Return accuracy with its interval, F1, confusion and calibration."""
        check_is_fitted(self, "head_")
        truth = label_array(labels, "labels")
        check_labels(truth, self.classes_)
        found = self.predict_detailed(texts, target, budget=budget)
        return evaluate_prediction(found, truth, self.classes_)

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        """Return the embeddings of n sentences, shape (n, d), float32."""
        check_is_fitted(self, "encoder_")
        return finite_embeddings(self.encoder_, check_sentences(texts), progress)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the model into a new folder, whole or not at all (see `qhead.saving.folder`).

        Raises:
            EncoderError: The encoder is none that could be found again.
            ModelError: The destination cannot be used, the disk is full, `metrics_` holds no
                scores, or the head is scikit-learn's, whose state only a pickle could hold.
        """
        check_is_fitted(self, "head_")
        check_encoder(self.encoder_, "config", "identity")
        stored = pack(
            self.head_,
            self.classes_,
            encoder=encoder_record(self.encoder_, Path(folder)),
            metrics=self.metrics_,
            data=self.data_,
            versions=self.versions_,
        )
        write_model(Path(folder), stored, overwrite=overwrite)
        self.saved_ = SavedModel.of(Path(folder))

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        encoder: SentenceEncoder | str | os.PathLike[str] | None = None,
        revision: str | None = None,
        cache: bool | EmbeddingCache | None = True,
    ) -> TextClassifier:
        """Return the model of a folder, after checking all of it.

        Args:
            folder: What `save` wrote.
            encoder: The encoder, or its folder or id of the Hub, where it is not in its recorded
                place any more; it must be the same model. None: the recorded one.
            revision: Branch, tag or commit of a Hub model; None: the recorded commit.
            cache: Cache of the encoder, where none is given: see `SentenceEncoder`.

        Raises:
            ModelError: The folder is damaged, newer, foreign, or its parts contradict each other.
            EncoderError: The sentence encoder cannot be found.

        Warns:
            EncoderWarning: The model is of a version that recorded less of its encoder.
        """
        stored = read_model(Path(folder))
        head = unpack(stored, Path(folder))
        encoder = open_encoder(
            Path(folder),
            stored.config.get("encoder"),
            encoder=encoder,
            revision=revision,
            cache=cache,
        )
        model = cls(encoder=encoder, head=head)
        model.encoder_, model.head_, model.classes_ = encoder, head, head.classes_
        model.data_, model.metrics_ = stored.data, stored.metrics
        model.versions_ = stored.versions
        model.saved_ = SavedModel.of(Path(folder))
        return model

    def set_params(self, **params: Any) -> Self:
        """Set options by scikit-learn's names, as ``head__training__learning_rate``.

        Options of a head that is None are those of the default head.
        """
        nested = any(name.startswith("head__") for name in params)
        if nested and "head" not in params and self.head is None:
            self.head = HEADS["quantum"]()
        super().set_params(**params)
        return self

    def _make_encoder(self) -> SentenceEncoder:
        if self.encoder is None:
            return SentenceEncoder()
        if isinstance(self.encoder, str | os.PathLike):
            return SentenceEncoder(self.encoder)
        check_encoder(self.encoder, "encode")
        return self.encoder

    def open_encoder(self, num_classes: int) -> SentenceEncoder:
        """Return the encoder of `encoder`, after checking that the head fits to it.

        Args:
            num_classes: K, the labels that the head will tell apart.

        Raises:
            EncoderError: It cannot be loaded.
            HeadError: The head cannot be built on its embeddings. No sentence was embedded.
        """
        encoder, head = self._make_encoder(), self._make_head()
        width = getattr(encoder, "dimension", None)
        if isinstance(head, TorchHead):
            head.validate_options()
            if width is not None:
                head.check_size(width, num_classes)
        return encoder

    def _make_head(self) -> Any:
        if self.head is None:
            return HEADS["quantum"]()
        if not hasattr(self.head, "fit") or isinstance(self.head, type):
            raise HeadError(
                "Expected a head, e.g. QuantumHead(), or a scikit-learn classifier, got "
                f"{self.head!r}."
            )
        return clone(self.head)

    def _resolve(self, target: ExecutionTarget | str | None) -> ExecutionTarget | None:
        return resolve_target(target, seed=getattr(self.head_, "seed", 0))


def _weight_options(head: Any, sample_weight: ArrayLike | None) -> dict[str, Any]:
    """Return the keyword arguments by which a classifier of scikit-learn takes weights."""
    if sample_weight is None:
        return {}
    steps = head.steps if isinstance(head, Pipeline) else [("", head)]
    if not has_fit_parameter(steps[-1][1], "sample_weight"):
        raise HeadError(
            f"{type(steps[-1][1]).__name__} takes no sample_weight. Leave it out, or choose "
            "another head."
        )
    taking = [name for name, step in steps if has_fit_parameter(step, "sample_weight")]
    return {f"{name}__sample_weight" if name else "sample_weight": sample_weight for name in taking}
