"""Sentences to vectors: a frozen sentence transformer behind an on-disk cache.

torch and sentence-transformers are imported, and the transformer is loaded, when a text turns up
that the cache does not know; never before. A second run over the same texts reads a few files of
configuration and one SQLite file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hardware.errors import did_you_mean
from qhead.encoder.cache import CacheWarning, EmbeddingCache, file_sha256
from qhead.encoder.sentence_models import DEFAULT_MODEL, SentenceModel, find_model, model_name
from qhead.encoder.transformer import embed_batch, load_transformer, longer_than_read, vector_length
from qhead.errors import EncoderError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = [
    "DEFAULT_MODEL",
    "CacheWarning",
    "EmbeddingCache",
    "Progress",
    "SentenceEncoder",
    "TruncationWarning",
]

_log = logging.getLogger(__name__)

# The same weights and text gave other vectors under other versions of these, so that the cache
# keeps them apart.
_LIBRARIES = ("sentence-transformers", "transformers", "tokenizers")
_CONFIG = {
    "model": str,
    "revision": str,
    "normalize": bool,
    "batch_size": int,
    "max_seq_length": int,
}


class TruncationWarning(UserWarning):
    """Some texts are longer than the encoder reads; their ends do not count."""


class Progress(Protocol):
    """Called as texts are embedded."""

    def __call__(self, done: int, total: int) -> None:
        """Report that `done` of `total` texts have their vectors."""


class SentenceEncoder:
    """A frozen sentence transformer: texts in, vectors out.

    Vectors come in float32. The transformer pads the texts of a batch to one length, so that the
    last bits of a vector (about 1e-7) depend on the texts that it was embedded with; the cache
    keeps the first value.

    Args:
        model: `DEFAULT_MODEL`, which needs no download; a folder; or an id of the Hugging Face Hub,
            e.g. ``sentence-transformers/paraphrase-mpnet-base-v2``.
        revision: Branch, tag or commit of a Hub model.
        normalize: Scale every vector to length one. Some models, the default one among them, do so
            themselves.
        batch_size: Texts embedded together.
        device: torch's name of a device; None takes a GPU where there is one.
        cache: True: the user's cache; an `EmbeddingCache`; None or False: no cache.
        max_seq_length: Longest input in tokens; None: the model's own limit. Texts that are longer
            are cut, with a `TruncationWarning`.

    Raises:
        EncoderError: An option is of the wrong kind. The model itself is looked at on first use.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        revision: str | None = None,
        normalize: bool = False,
        batch_size: int = 64,
        device: str | None = None,
        cache: bool | EmbeddingCache | None = True,
        max_seq_length: int | None = None,
    ) -> None:
        self.model = model_name(model)
        place = Path(self.model).expanduser()
        #: The model's folder, absolute, so that it is found from any working directory; None for
        #: the installed model and those of the Hub.
        self.folder = place.absolute() if self.model != DEFAULT_MODEL and place.is_dir() else None
        self.revision = revision
        self.normalize = normalize
        self.batch_size = _positive("batch_size", batch_size)
        self.device = device
        self.cache = EmbeddingCache() if cache is True else cache or None
        self.max_seq_length = (
            None if max_seq_length is None else _positive("max_seq_length", max_seq_length)
        )
        self._transformer: SentenceTransformer | None = None
        self._cut: set[str] = set()

    def __sklearn_clone__(self) -> SentenceEncoder:
        """Return itself: it is frozen, and a copy would load, or copy, its weights again."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Another process loads the weights from their folder, if it meets an unknown text.
        return {**self.__dict__, "_transformer": None}

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        if self._model.dimension is not None:
            return self._model.dimension
        return vector_length(self._loaded())

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the vectors depend on, as plain JSON values.

        ``model`` and ``revision`` are how the model was named, and ``commit`` is the commit of a
        Hub model; the rest is what it is: hashes of its weights and of its settings (tokenizer
        included), the chain of modules, pooling, normalisation and the limit on the input in
        tokens. Other files of the folder do not count.
        """
        model = self._model
        hash_file = self.cache.file_sha256 if self.cache else file_sha256
        try:
            return {
                "model": self.model,
                "revision": self.revision,
                "commit": model.commit,
                "weights_sha256": model.weights_sha256(hash_file),
                "loaded_settings_sha256": model.settings_sha256(),
                "modules": list(model.chain),
                "pooling": model.pooling,
                "normalize": self.normalize,
                "max_seq_length": self.max_seq_length or model.max_seq_length,
            }
        except OSError as error:
            raise EncoderError(f"{model.folder}: cannot be read: {error}.") from error

    def tensors_sha256(self) -> str:
        """Return a hash over the weights themselves, however files divide them; reads them all.

        Raises:
            EncoderError: The weights cannot be read.
        """
        return self._model.tensors_sha256()

    @property
    def loaded(self) -> bool:
        """Whether the transformer is in memory."""
        return self._transformer is not None

    @property
    def num_truncated(self) -> int:
        """Number of different texts so far of which the encoder saw only the beginning."""
        return len(self._cut)

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        """Embed texts, those that the cache does not know by the transformer.

        Each batch enters the cache as soon as it is done, so that an interrupted run is not lost.

        Args:
            texts: n sentences.
            progress: Called with (done, total) at the start and after each batch.

        Returns:
            Vectors, shape (n, d), float32.

        Raises:
            EncoderError: A text is empty or no string, the model cannot be loaded, or it returns
                something that is not finite.

        Warns:
            TruncationWarning: Once a call, if texts are longer than the encoder reads.
        """
        _check_texts(texts)
        if not len(texts):
            return np.empty((0, self.dimension), dtype=np.float32)
        counts = Counter(texts)  # a text that comes twice is embedded once
        unique = list(counts)
        known = self.cache.get(self._space, unique) if self.cache else [None] * len(unique)
        vectors: dict[str, np.ndarray] = {}
        cut: set[str] = set()
        for text, entry in zip(unique, known, strict=True):
            if entry is not None and entry.vector.size == self.dimension:
                vectors[text] = entry.vector
                if entry.truncated:
                    cut.add(text)
        _log.debug("%s: %d of %d texts are in the cache", self.model, len(vectors), len(unique))
        report = progress or (lambda done, total: None)
        done = sum(counts[text] for text in vectors)
        report(done, len(texts))
        for batch in _batches([text for text in unique if text not in vectors], self.batch_size):
            embedded, flags = self._embed(batch)
            vectors.update(zip(batch, embedded, strict=True))
            cut.update(text for text, flag in zip(batch, flags, strict=True) if flag)
            done += sum(counts[text] for text in batch)
            report(done, len(texts))
        self._report_cut(cut, sum(counts[text] for text in cut), len(texts))
        result = np.empty((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            result[row] = vectors[text]
        return result

    def config(self) -> dict[str, Any]:
        """Return the options that make the vectors, for `from_config`, as plain JSON values.

        Device and cache belong to the machine and are left out.
        """
        return {
            "model": self.model if self.folder is None else str(self.folder),
            "revision": self.revision,
            "normalize": self.normalize,
            "batch_size": self.batch_size,
            "max_seq_length": self.max_seq_length,
        }

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        *,
        device: str | None = None,
        cache: bool | EmbeddingCache | None = True,
    ) -> SentenceEncoder:
        """Build the encoder that `config` describes.

        Raises:
            EncoderError: An option is unknown or of the wrong kind.
        """
        if not isinstance(config, Mapping):
            raise EncoderError(f"Expected the encoder's options as a mapping, got {config!r:.60}.")
        for key, value in config.items():
            if key not in _CONFIG:
                hint = did_you_mean(str(key), _CONFIG)
                raise EncoderError(
                    f"Expected encoder options among {', '.join(_CONFIG)}, got {key!r}.{hint}"
                )
            optional = value is None and key in ("revision", "max_seq_length")
            if not optional and type(value) is not _CONFIG[key]:
                raise EncoderError(
                    f"Expected the encoder's {key} to be {_CONFIG[key].__name__}, got {value!r}."
                )
        return cls(**config, device=device, cache=cache)

    @cached_property
    def _model(self) -> SentenceModel:
        model = find_model(self.config()["model"], self.revision)
        limit = model.longest_input
        if self.max_seq_length is not None and limit is not None and self.max_seq_length > limit:
            raise EncoderError(
                f"Expected max_seq_length of at most {limit}, for which {self.model} has "
                f"positions, got {self.max_seq_length}."
            )
        return model

    @cached_property
    def _space(self) -> str:
        """Name in the cache of everything that changes a vector, however the model was named."""
        parts = {k: v for k, v in self.identity.items() if k not in ("model", "revision", "commit")}
        parts["libraries"] = {name: metadata.version(name) for name in _LIBRARIES}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _embed(self, texts: list[str]) -> tuple[np.ndarray, list[bool]]:
        """Return vectors (n, d) of one batch, and which texts were cut; both are cached."""
        transformer = self._loaded()
        cut = longer_than_read(transformer, texts)
        vectors = embed_batch(transformer, texts, normalize=self.normalize)
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            text = texts[int(np.argmin(finite))]
            raise EncoderError(
                f"{self.model}: expected finite vectors, got NaN or infinity for {text[:60]!r}. "
                "The weights may be damaged."
            )
        if self.cache:
            self.cache.put(self._space, texts, vectors, cut)
        return vectors, cut

    def _loaded(self) -> SentenceTransformer:
        if self._transformer is None:
            self._transformer = load_transformer(
                self._model, device=self.device, max_seq_length=self.max_seq_length
            )
        return self._transformer

    def _report_cut(self, cut: set[str], number: int, total: int) -> None:
        """Warn of the `number` of texts that were cut, unless all of them were reported before."""
        known = cut <= self._cut
        self._cut |= cut
        if known:
            return
        limit, room = self.identity["max_seq_length"], self._model.longest_input
        remedy = ""
        if room is None or limit is None or room > limit:
            longer = f"max_seq_length={room}" if room else "a larger max_seq_length"
            remedy = f"; in Python, SentenceEncoder with {longer} reads longer ones"
        warnings.warn(
            f"{number} of {total} texts are longer than the "
            f"{f'{limit} tokens that ' if limit else ''}{self.model} reads: their ends do not "
            f"count. Split or shorten them{remedy}.",
            TruncationWarning,
            stacklevel=3,
        )


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise EncoderError(f"Expected a list of texts, got one string: [{texts[:40]!r}] is a list.")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise EncoderError(f"Expected a string at index {index}, got {type(text).__name__}.")
        if not text.strip():
            raise EncoderError(f"Expected a sentence at index {index}, got an empty text.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise EncoderError(
                f"Expected characters that exist at index {index}, got half of a surrogate pair."
            ) from error


def _batches(texts: list[str], size: int) -> Iterator[list[str]]:
    """Yield batches of texts of like length, the longest first: little padding, memory shows early.

    Ties keep their order, so that the same texts always make the same batches.
    """
    ordered = sorted(texts, key=len, reverse=True)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _positive(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise EncoderError(
            f"Expected {name} to be a positive integer, got {value!r}.", options=[name]
        )
    return value
