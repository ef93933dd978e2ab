"""A classifier from the parts of a data set to a saved model with its scores."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from qhead.classifier import TextClassifier
from qhead.data.parts import Parts
from qhead.encoder.sentence_encoder import SentenceEncoder
from qhead.errors import ModelError, TrainingInterrupted
from qhead.evaluation import evaluate_prediction
from qhead.files import free_name, is_occupied
from qhead.prediction import predict_head
from qhead.progress import counting_bar, training_bar, waiting


def fit_parts(
    model: TextClassifier, parts: Parts, *, checkpoint: str | Path | None = None
) -> TextClassifier:
    """Embed the parts of a data set, train on one and score on the others, under progress bars.

    Args:
        model: A classifier; it is fitted in place.
        parts: What to train on, and what is held out of it.
        checkpoint: File from which an interrupted training goes on.

    Returns:
        The classifier, the scores of each part held out in its `metrics_`. After Ctrl-C, too: it
        then holds the best weights so far, and its head's `stopped_` is ``"interrupted"``.

    Raises:
        EncoderError, HeadError, CheckpointError: As `TextClassifier.fit`.
    """
    encoder = model.open_encoder(len(parts.train.classes))
    embeddings = {
        name: embedded(encoder, name, part.texts) for name, part in parts.by_name().items()
    }
    held_out = None
    if parts.validation is not None:
        held_out = (embeddings["validation"], parts.validation.labels)
    # What an interrupted training has reached is scored and kept; `stopped_` says so.
    with (
        training_bar(f"training {getattr(model.head, 'kind', 'head')}") as progress,
        contextlib.suppress(TrainingInterrupted),
    ):
        model.fit_embedded(
            encoder,
            parts.train,
            embeddings["train"],
            validation=held_out,
            progress=progress,
            checkpoint=checkpoint,
        )
    with waiting("scoring"):
        model.metrics_ = {
            name: evaluate_prediction(
                predict_head(model.head_, embeddings[name]), part.labels, model.classes_
            ).as_dict()
            for name, part in parts.by_name().items()
            if name != "train"
        }
    return model


def embedded(encoder: SentenceEncoder, name: str, texts: tuple[str, ...]) -> np.ndarray:
    """Return the embeddings (n, d) of sentences, made under a progress bar."""
    with counting_bar(f"embedding {name}".rstrip()) as bar:
        return encoder.encode(texts, progress=lambda done, total: bar(done, total))


def save_beside(model: TextClassifier, place: Path, *, overwrite: bool) -> Path:
    """Save a model and return where: beside the place if it must not replace what is there.

    An interrupted training replaces no model, and what another program has put there since the
    training began is left alone.

    Raises:
        ModelError: The disk refuses.
    """
    interrupted = model.head_.stopped_ == "interrupted"
    if not (interrupted and is_occupied(place)):
        try:
            model.save(place, overwrite=overwrite)
        except ModelError:
            if not is_occupied(place):
                raise
        else:
            return place
    free = free_name(place, "interrupted" if interrupted else "new")
    model.save(free)
    return free
