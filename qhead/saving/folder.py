"""One model, one folder: written whole or not at all, checked before it is believed.

    manifest.json       format, format version, name → size and SHA-256 of every other file
    config.json         encoder and its identity, head and its options, labels, number of features
    head.safetensors    the head's tensors
    circuit.qasm        the head's circuit, OpenQASM 3, for other programs: never parsed here
    history.json        one record an epoch, and which of them was best
    metrics.json        scores at training time
    data.json           fingerprint and class counts of the training data
    versions.json       the versions that made the model

Nothing in it is executed. A file is read once, into memory, after its size was checked; its hash
is checked on those bytes and the same bytes are parsed. The hashes find damage; they are no
signature, so `qhead.classifier` checks the contents again: options, tensors, and a hash of the
gates, by which a version that builds another circuit from the same options is noticed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from qhead.errors import ModelError
from qhead.files import (
    check_parent,
    disk_full,
    new_parents,
    partial_folder,
    sync_folder,
    write_synced,
)

FORMAT = "qhead-model"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"

_JSON_FILES = ("config", "history", "metrics", "data", "versions")
_TENSORS, _CIRCUIT = "head.safetensors", "circuit.qasm"
_MAX_BYTES = {_TENSORS: 1 << 30, _CIRCUIT: 64 << 20}
_MAX_JSON_BYTES = 16 << 20
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, eq=False)
class StoredModel:
    """What a model folder holds, checked for form; the classifier checks the sense."""

    config: dict[str, Any]
    tensors: dict[str, np.ndarray]
    circuit: str | None = None  # OpenQASM 3
    history: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def write_model(folder: Path, model: StoredModel, *, overwrite: bool = False) -> None:
    """Write a model folder: all of it appears at once, or nothing does.

    An existing model is replaced only with `overwrite`; a folder that holds anything else than a
    model is never touched.

    Raises:
        ModelError: The destination cannot be used or the disk refuses; nothing was changed.
    """
    check_destination(folder, overwrite=overwrite)
    files = _serialise(model)
    files[MANIFEST] = _manifest(files)
    folder = folder.absolute()
    try:
        with new_parents(folder.parent), partial_folder(folder) as partial:
            for name, content in files.items():
                write_synced(partial / name, content)
            sync_folder(partial)
            _put_in_place(partial, folder, overwrite=overwrite)
            sync_folder(folder.parent)
    except OSError as error:
        raise ModelError(
            f"Cannot write the model folder {folder}: {error.strerror or error}. Nothing was "
            "changed; "
            + ("free some space" if disk_full(error) else "choose another place")
            + " and save again."
        ) from error


def check_destination(folder: Path, *, overwrite: bool = False) -> None:
    """Raise a `ModelError` where a model could not be saved; worth a call before a long training.

    An absent or empty folder is fine; a model is, with `overwrite`, where it holds nothing that is
    not the model's own.
    """
    if os.path.lexists(folder):
        _check_replaceable(folder, overwrite=overwrite)
    check_parent(folder)


def _check_replaceable(folder: Path, *, overwrite: bool) -> None:
    """Raise a `ModelError` unless a model may replace what is at `folder`."""
    if folder.is_symlink() or not folder.is_dir():
        raise ModelError(
            f"{folder} is {'a link' if folder.is_symlink() else 'a file'}, not a folder. Choose "
            "another name for the model."
        )
    present = {entry.name for entry in folder.iterdir()}
    if not present:
        return
    if MANIFEST not in present:
        raise ModelError(
            f"{folder} holds other files ({_few(present)}) and is never overwritten. Choose "
            "another name for the model."
        )
    strangers = present - {MANIFEST} - set(_read_manifest(folder)["files"])
    if strangers:
        raise ModelError(
            f"{folder} holds files that are not the model's: {_few(strangers)}. Move them away or "
            "choose another name."
        )
    if not overwrite:
        raise ModelError(
            f"{folder} already holds a model. Choose another name, or replace it with "
            "overwrite=True.",
            options=["overwrite"],
        )


def read_model(folder: Path) -> StoredModel:
    """Read a model folder and check everything that is read.

    Raises:
        ModelError: No such folder, a newer format, a missing, oversized, damaged or foreign file,
            a name that leaves the folder, a link, or a file that does not hold what it should.
    """
    files = _read_manifest(folder)["files"]
    needed = {_TENSORS, *(f"{name}.json" for name in _JSON_FILES)}
    if missing := sorted(needed - set(files)):
        raise ModelError(f"{folder / MANIFEST} lacks {_few(missing)}: the model is not complete.")
    content = {
        name: _read_checked(folder, name, files[name])
        for name in sorted(needed | {_CIRCUIT})
        if name in files
    }
    parts = {
        name: _parse_json(folder / f"{name}.json", content[f"{name}.json"]) for name in _JSON_FILES
    }
    for name, value in parts.items():
        if not isinstance(value, dict):
            raise ModelError(f"{folder / name}.json: expected a JSON object.")
    version = parts["config"].pop("format_version", None)
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{folder}/config.json: expected format version {FORMAT_VERSION} as in {MANIFEST}, "
            f"got {version!r}. The files are not of one model: train and save again."
        )
    try:
        tensors = safetensors.numpy.load(content[_TENSORS])
        circuit = content[_CIRCUIT].decode("utf-8") if _CIRCUIT in content else None
    except (SafetensorError, UnicodeDecodeError, ValueError, KeyError) as error:
        raise ModelError(f"{folder}: a file does not hold what its name says: {error}.") from error
    return StoredModel(tensors=tensors, circuit=circuit, **parts)


def _serialise(model: StoredModel) -> dict[str, bytes]:
    """Return the content of every file but the manifest, by name."""
    config = {"format_version": FORMAT_VERSION, **model.config}
    files = {"config.json": _json_bytes(config)}
    files[_TENSORS] = safetensors.numpy.save(model.tensors)
    if model.circuit is not None:
        files[_CIRCUIT] = model.circuit.encode("utf-8")
    for name in _JSON_FILES[1:]:
        files[f"{name}.json"] = _json_bytes(getattr(model, name))
    return files


def _json_bytes(value: Any) -> bytes:
    """Return indented JSON; NaN is refused, as other readers refuse it."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8")


def _manifest(files: Mapping[str, bytes]) -> bytes:
    entries = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    }
    return _json_bytes({"format": FORMAT, "format_version": FORMAT_VERSION, "files": entries})


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest, with its format, version and file names checked."""
    if not folder.is_dir():
        raise ModelError(
            f"{folder} "
            + ("is a file, not a model folder." if folder.exists() else "does not exist.")
            + _interrupted_replacement(folder)
            + " `qhead train DATA --out MODEL` creates a model folder."
        )
    path = folder / MANIFEST
    if not os.path.lexists(path):
        raise ModelError(f"{folder} is not a model folder: it has no {MANIFEST}.")
    manifest = _parse_json(path, _read_bounded(path, _MAX_JSON_BYTES))
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ModelError(f"{path}: expected the manifest of a {FORMAT}, got something else.")
    version = manifest.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ModelError(f"{path}: expected a format version, got {version!r}.")
    if version > FORMAT_VERSION:
        raise ModelError(
            f"{folder} was saved in format {version}; this version of qhead reads up to format "
            f"{FORMAT_VERSION}. Upgrade qhead, or save the model with this version."
        )
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise ModelError(f"{path}: expected the list of files, got {type(files).__name__}.")
    for name in files:
        if not _PLAIN_NAME.fullmatch(name) or name == MANIFEST:
            raise ModelError(
                f"{path}: expected plain names of files in the folder, got {name!r}. "
                "A model never refers to a file outside its folder: do not use this one."
            )
    return manifest


def _interrupted_replacement(folder: Path) -> str:
    """Return a hint where a replacement was cut short between its two renames."""
    kept = sorted(folder.absolute().parent.glob(f".{folder.name}.replaced-*"))
    return f" The model it held before is kept in {kept[0]}: rename it back." if kept else ""


def _read_checked(folder: Path, name: str, entry: Any) -> bytes:
    """Return the bytes of a listed file whose size and hash are what the manifest says."""
    content = _read_bounded(folder / name, _MAX_BYTES.get(name, _MAX_JSON_BYTES))
    expected: dict[str, Any] = entry if isinstance(entry, dict) else {}
    actual: dict[str, Any] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    if expected != actual:
        raise ModelError(
            f"{folder / name}: expected {expected.get('bytes')} bytes with SHA-256 "
            f"{str(expected.get('sha256'))[:12]}…, got {actual['bytes']} bytes with "
            f"{actual['sha256'][:12]}…. The file was damaged or changed: restore the folder from "
            "a copy, or train again."
        )
    return content


def _read_bounded(path: Path, limit: int) -> bytes:
    """Return the bytes of a regular file, not a link, of at most `limit` bytes."""
    try:
        # O_NONBLOCK so that a named pipe planted here cannot hang the reader.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        link = error.errno in (errno.ELOOP, errno.EMLINK)
        reason = "it is a link, which could lead out of the folder" if link else error.strerror
        raise ModelError(f"Cannot read {path}: {reason}.") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{path} is not a regular file.")
        if status.st_size > limit:
            raise ModelError(
                f"{path}: expected at most {limit} bytes, got {status.st_size}. "
                "No model of this version has a file of this size."
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(limit)
    except OSError as error:
        raise ModelError(f"Cannot read {path}: {error.strerror}.") from error
    finally:
        os.close(descriptor)
    return content


def _parse_json(path: Path, content: bytes) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(content.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON: {error}.") from error


def _put_in_place(partial: Path, folder: Path, *, overwrite: bool) -> None:
    """Rename the complete folder to its place; the one before returns where that fails."""
    if not (overwrite and folder.exists()):
        partial.rename(folder)  # fails where a non-empty folder has appeared meanwhile
        return
    replaced = folder.with_name(f".{folder.name}.replaced-{secrets.token_hex(4)}")
    folder.rename(replaced)
    try:
        partial.rename(folder)
    except BaseException:
        replaced.rename(folder)
        raise
    shutil.rmtree(replaced, ignore_errors=True)  # the new model is in place: the rest is tidying


def _few(names: set[str] | list[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:3]) + (" …" if len(shown) > 3 else "")
