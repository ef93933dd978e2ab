"""The sentence encoder of a saved model: recorded so that it is found again, checked when it is.

A folder is recorded by its absolute path and by its path from the model's folder, so that both may
move together and the working directory does not matter; a model of the Hub by its commit.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qhead.encoder.cache import EmbeddingCache
from qhead.encoder.sentence_encoder import SentenceEncoder
from qhead.encoder.sentence_models import model_name
from qhead.errors import EncoderError, ModelError

# How an encoder was named; all else of an identity is what it is.
_NAMES = ("model", "revision", "commit")
_WORDS = {
    "weights_sha256": "weights",
    "loaded_settings_sha256": "tokenizer or configuration",
    "modules": "modules",
    "pooling": "pooling",
    "normalize": "normalisation",
    "max_seq_length": "longest input",
}
#: Before `loaded_settings_sha256`: hashes over files that change no vector, too.
_LEGACY = {"config_sha256", "settings_sha256"}


class EncoderWarning(UserWarning):
    """An encoder could be compared in part only with the one that a model was trained with."""


def check_encoder(encoder: Any, *needed: str) -> None:
    """Raise `EncoderError` unless `encoder` is one that has everything `needed`."""
    lacking = [name for name in needed if not hasattr(encoder, name)]
    if not hasattr(encoder, "encode"):
        raise EncoderError(
            "Expected a SentenceEncoder, a model's id or folder, or None, got "
            f"{type(encoder).__name__}."
        )
    if lacking:
        raise EncoderError(
            f"Expected a SentenceEncoder, got {type(encoder).__name__}, which has no "
            f"{' and no '.join(lacking)}: a saved model could not find it again."
        )


def encoder_record(encoder: SentenceEncoder, folder: Path) -> dict[str, Any]:
    """Return what a model saved in `folder` says of its encoder, JSON-able."""
    config, identity = encoder.config(), encoder.identity
    record: dict[str, Any] = {"config": config, "identity": identity}
    if isinstance(encoder, SentenceEncoder):
        record["tensors_sha256"] = encoder.tensors_sha256()
    if encoder.folder is not None:
        try:
            # Between real places: a path through a link would lead elsewhere from behind it.
            relative = os.path.relpath(encoder.folder.resolve(), folder.resolve())
        except ValueError:  # another drive
            return record
        return record | {"relative": Path(relative).as_posix()}
    if identity.get("commit"):
        config["revision"] = identity["commit"]
    return record


def open_encoder(
    folder: Path,
    record: Any,
    *,
    encoder: SentenceEncoder | str | os.PathLike[str] | None,
    revision: str | None,
    cache: bool | EmbeddingCache | None,
) -> SentenceEncoder:
    """Return the encoder of a saved model, the same one that it was trained with.

    Args:
        folder: The model's folder.
        record: What `encoder_record` returned.
        encoder: The encoder, or its folder or id of the Hub; None: where the record says.
        revision: Branch, tag or commit of a Hub model; None: the one recorded.
        cache: Cache of the encoder, where it is opened here.

    Raises:
        EncoderError: It cannot be found or read.
        ModelError: It is another one, or the record is none of this version.

    Warns:
        EncoderWarning: The model is of a version that recorded less of its encoder.
    """
    config, identity = _parts(record)
    if config is None or identity is None:
        raise ModelError(
            f"{folder}/config.json: expected a model of this version of qhead, got an encoder "
            f"without its options or identity, {record!r:.60}."
        )
    if isinstance(encoder, os.PathLike):
        encoder = model_name(encoder)
    if encoder is not None and not isinstance(encoder, str):
        check_encoder(encoder, "identity")
        candidates = [encoder]
    else:
        if encoder is not None:
            config = {**config, "model": encoder, "revision": revision}
        elif revision is not None:
            config = {**config, "revision": revision}
        places = [encoder] if encoder is not None else _places(folder, record)
        candidates = [
            SentenceEncoder.from_config({**config, "model": place}, cache=cache) for place in places
        ]
    failure: Exception | None = None
    for candidate in candidates:
        try:
            differing = _differences(candidate.identity, identity)
            if _WORDS["weights_sha256"] in differing and _same_tensors(candidate, record):
                differing.remove(_WORDS["weights_sha256"])
        except EncoderError as error:
            failure = failure or error
            continue
        if not differing:
            _warn_of_legacy(folder, identity)
            return candidate
        failure = ModelError(
            f"{folder}: the sentence encoder {candidate.model} is not the one that the model was "
            f"trained with: other {', '.join(differing)}. Name the right one (--encoder, "
            "--revision), or train again."
        )
    assert failure is not None
    raise failure


def _parts(record: Any) -> list[dict[str, Any] | None]:
    """Return options and identity of a record, None for what is none."""
    parts = [record.get(k) if isinstance(record, dict) else None for k in ("config", "identity")]
    return [part if isinstance(part, dict) else None for part in parts]


def _places(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Return where the encoder may be, the likeliest place first."""
    model, relative = record["config"].get("model"), record.get("relative")
    if not isinstance(relative, str):
        return [model]
    # Versions before recorded the path between places as they were named, links included.
    bases = dict.fromkeys((folder.resolve(), folder.absolute()))
    places = [os.path.normpath(base / relative) for base in bases]
    named = list(dict.fromkeys([*places, str(model)]))
    found = [place for place in named if Path(place).is_dir()]
    if not found:
        raise EncoderError(
            f"{folder}: the model's sentence encoder is not found at {' or '.join(named)}. "
            "Give its folder (--encoder)."
        )
    return found


def _differences(found: Mapping[str, Any], recorded: Mapping[str, Any]) -> list[str]:
    """Return in words what differs between two encoders' identities."""
    keys = dict.fromkeys([*recorded, *found])
    if "loaded_settings_sha256" not in recorded and _LEGACY & set(recorded):
        keys.pop("loaded_settings_sha256", None)
    for key in _LEGACY:
        keys.pop(key, None)
    return [
        _WORDS.get(key, key)
        for key in keys
        if key not in _NAMES and found.get(key) != recorded.get(key)
    ]


def _same_tensors(encoder: SentenceEncoder, record: Mapping[str, Any]) -> bool:
    """Return whether other files hold the recorded weights, divided otherwise."""
    recorded = record.get("tensors_sha256")
    return isinstance(encoder, SentenceEncoder) and encoder.tensors_sha256() == recorded


def _warn_of_legacy(folder: Path, recorded: Mapping[str, Any]) -> None:
    if _LEGACY & set(recorded):
        warnings.warn(
            f"{folder} was saved by an earlier version of qhead: its encoder's weights, pooling "
            "and length of input were compared, its tokenizer could not be. Save the model again.",
            EncoderWarning,
            stacklevel=4,
        )
