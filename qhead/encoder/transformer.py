"""The transformer itself: loaded from a checked folder, asked for vectors.

Importing this module is light; torch and sentence-transformers are imported by `load_transformer`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from qhead.encoder.sentence_models import SentenceModel
from qhead.errors import EncoderError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# What the libraries raise for a folder whose files are damaged or do not belong together.
_LOADING_ERRORS = (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError)


def load_transformer(
    model: SentenceModel, *, device: str | None, max_seq_length: int | None
) -> SentenceTransformer:
    """Load a model, frozen, in float32, without network, foreign code or pickles.

    Args:
        model: A folder checked by `qhead.encoder.sentence_models.find_model`.
        device: torch's name of a device; None takes a GPU where there is one.
        max_seq_length: Longest input in tokens; None: the model's own limit.

    Raises:
        EncoderError: The folder cannot be loaded.
    """
    # Seconds, and most of this package's memory: nothing else imports them.
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    try:
        with _quiet():
            transformer = SentenceTransformer(
                str(model.folder),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
    except (*_LOADING_ERRORS, SafetensorError) as error:
        reason = str(error).partition("\n")[0]  # what follows is advice of another library's
        raise EncoderError(f"{model.name}: cannot be loaded: {reason}") from error
    transformer.float()  # some models are stored in half precision
    transformer.requires_grad_(False)
    if max_seq_length is not None:
        transformer.max_seq_length = max_seq_length
    width = vector_length(transformer)
    if model.dimension not in (None, width):
        raise EncoderError(
            f"{model.name}: expected vectors of {model.dimension} numbers from its configuration, "
            f"got {width}. The folder's files do not belong together."
        )
    return transformer


def embed_batch(
    transformer: SentenceTransformer, texts: list[str], *, normalize: bool
) -> np.ndarray:
    """Return the vectors of one batch of texts, shape (n, d), float32."""
    vectors = transformer.encode(
        texts,
        batch_size=len(texts),
        normalize_embeddings=normalize,
        convert_to_numpy=True,
        show_progress_bar=False,
    )
    return np.asarray(vectors, dtype=np.float32)


def longer_than_read(transformer: SentenceTransformer, texts: list[str]) -> list[bool]:
    """Return for each text whether the transformer sees only its beginning."""
    limit, tokenizer = transformer.max_seq_length, transformer.tokenizer
    if limit is None or not callable(tokenizer):
        return [False] * len(texts)  # a static embedding reads everything
    prompt = transformer.prompts.get(transformer.default_prompt_name or "") or ""
    tokens = tokenizer(
        [prompt + text for text in texts], truncation=False, padding=False, verbose=False
    )
    return [len(ids) > limit for ids in tokens["input_ids"]]


def vector_length(transformer: SentenceTransformer) -> int:
    """Return the length of a vector."""
    width = transformer.get_embedding_dimension()
    if width is None:
        raise EncoderError("The transformer does not state the length of its vectors.")
    return int(width)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the bar that transformers draws, in a pipe too, while it loads weights."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
