"""A saved model that predicts and nothing else, ready in half the time of the whole classifier."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qhead.data.texts import check_sentences
from qhead.encoder.cache import EmbeddingCache
from qhead.encoder.sentence_encoder import Progress, SentenceEncoder
from qhead.errors import EncoderError
from qhead.prediction import Prediction, predict_head
from qhead.saving.encoder import open_encoder
from qhead.saving.folder import read_model
from qhead.saving.inference import unpack_for_prediction
from qhead.targets import resolve_target

if TYPE_CHECKING:
    from hardware.targets import ExecutionTarget


@dataclass(frozen=True, eq=False)
class Predictor:
    """A saved model for prediction: the same numbers as `qhead.TextClassifier`, loaded faster.

    A quantum head whose sentences are in the cache of embeddings needs neither torch nor
    scikit-learn, whose imports are most of what the first prediction of a process waits for.

    Args:
        encoder_: The `SentenceEncoder` in use.
        head_: What predicts embeddings.
        classes_: The K labels, sorted.
    """

    encoder_: SentenceEncoder
    head_: Any
    classes_: np.ndarray

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        encoder: SentenceEncoder | str | os.PathLike[str] | None = None,
        revision: str | None = None,
        cache: bool | EmbeddingCache | None = True,
    ) -> Predictor:
        """Return the model of a folder; arguments and errors are `qhead.TextClassifier.load`'s."""
        stored = read_model(Path(folder))
        head = unpack_for_prediction(stored, Path(folder))
        found = open_encoder(
            Path(folder),
            stored.config.get("encoder"),
            encoder=encoder,
            revision=revision,
            cache=cache,
        )
        return cls(found, head, head.classes_)

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        """Return the embeddings of n sentences, shape (n, d), float32."""
        return finite_embeddings(self.encoder_, check_sentences(texts), progress)

    def predict_detailed(
        self, texts: Sequence[str], target: ExecutionTarget | str | None = None
    ) -> Prediction:
        """Return labels, probabilities and what the target's shot noise leaves of them.

        Args:
            texts: n sentences.
            target: Where the circuits run: a target, or its specification, whose shots are then
                drawn from the head's seed; None is exact. Devices are `qhead.TextClassifier`'s.

        Raises:
            DataError: An empty or over-long sentence.
            HeadError: A target other than exact for a head that runs no circuit.
            BudgetError: A real device.
        """
        where = resolve_target(target, seed=getattr(self.head_, "seed", 0))
        return predict_head(self.head_, self.embed(texts), where)


def finite_embeddings(
    encoder: SentenceEncoder, texts: Sequence[str], progress: Progress | None
) -> np.ndarray:
    """Return the embeddings of n sentences, shape (n, d), float32.

    Raises:
        EncoderError: One holds NaN or infinity.
    """
    embeddings = np.asarray(encoder.encode(texts, progress=progress))  # (n, d)
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if bad.size:
        raise EncoderError(
            f"Expected finite embeddings, got NaN or infinity for {bad.size} of {len(texts)} "
            f"sentences, first for {texts[bad[0]][:40]!r}. Check the encoder's weights."
        )
    return embeddings
