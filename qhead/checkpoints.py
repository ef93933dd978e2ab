"""A training checkpoint: tensors and a JSON record in one safetensors file, no pickle."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from qhead.errors import CheckpointError
from qhead.files import sync_folder, write_synced

#: Version 2 records what the training was begun with, name by name.
FORMAT = "qhead-checkpoint-2"


def digest(tensors: Mapping[str, torch.Tensor], text: str = "") -> str:
    """Return the SHA-256 of names, types, shapes and bytes of `tensors`, and of `text`."""
    hasher = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        hasher.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        hasher.update(tensor.numpy().tobytes())
    return hasher.hexdigest()


def flatten(value: Any, name: str = "") -> dict[str, Any]:
    """Return nested mappings as one, their keys joined by dots."""
    if not isinstance(value, Mapping):
        return {name: value}
    parts = [flatten(item, f"{name}.{key}" if name else str(key)) for key, item in value.items()]
    return {key: item for part in parts for key, item in part.items()}


def check_same(path: Path, begun: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Check that the training of a checkpoint was begun with what is wanted now.

    Args:
        path: The checkpoint, for the message.
        begun: What its record says: options, seed, versions and hashes of tensors, by name.
        wanted: The same of the training that would go on from it, as it is read from JSON.

    Raises:
        CheckpointError: Something differs; the message names it.
    """
    names = [n for n in dict.fromkeys([*begun, *wanted]) if begun.get(n) != wanted.get(n)]
    if not names:
        return
    shown = [
        name if "sha256" in name else f"{name} (was {begun.get(name)}, now {wanted.get(name)})"
        for name in names[:6]
    ]
    raise CheckpointError(
        f"The checkpoint {path} belongs to another training. What differs: {', '.join(shown)}"
        f"{' …' if len(names) > 6 else ''}. Use the data and options that it was begun "
        "with, give another path, or remove it to start over."
    )


def write_checkpoint(
    path: Path, tensors: Mapping[str, torch.Tensor], record: Mapping[str, Any]
) -> None:
    """Replace `path` at once by a file of `tensors` with `record` in its header.

    Raises:
        CheckpointError: The file cannot be written; what was at `path` is as it was.
    """
    text = json.dumps(record, sort_keys=True, allow_nan=False)
    metadata = {"format": FORMAT, "record": text, "digest": digest(tensors, text)}
    content = save({name: t.detach().contiguous() for name, t in tensors.items()}, metadata)
    partial = path.with_name(f".{path.name}.partial-{secrets.token_hex(4)}")
    try:
        write_synced(partial, content)
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint {path} cannot be written ({error.strerror or error}). "
            "Give a path in an existing, writable folder with free space."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors and the record of a checkpoint.

    Raises:
        CheckpointError: The file is damaged, or is no checkpoint of this version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a training checkpoint of qhead, or is damaged ({error}). Name another "
            "file to start anew."
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a training checkpoint of this version of qhead (format {FORMAT!r}) "
            f"but a safetensors file of format {metadata.get('format')!r}. Name another file to "
            "start anew."
        )
    text = metadata.get("record", "")
    if metadata.get("digest") != digest(tensors, text):
        raise CheckpointError(
            f"The checkpoint {path} is damaged: its content does not match its digest. "
            "Remove it to start anew."
        )
    record: dict[str, Any] = json.loads(text)
    return tensors, record


def begun_with(
    module: torch.nn.Module,
    samples: Mapping[str, torch.Tensor | None],
    held_out: Sequence[torch.Tensor | None],
    options: Mapping[str, Any],
    seed: int,
    identity: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return all that decides the result of a training, by name, as JSON gives it back."""
    held = {str(i): tensor for i, tensor in enumerate(held_out) if tensor is not None}
    hashes = {
        "initial_weights_sha256": digest(module.state_dict()),
        "data_sha256": digest({k: t for k, t in samples.items() if t is not None}),
        "validation_data_sha256": digest(held),
    }
    parts = {**(identity or {}), "training": options, "seed": seed, **hashes}
    begun: dict[str, Any] = json.loads(json.dumps(flatten(parts)))
    return begun
