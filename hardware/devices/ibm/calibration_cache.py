"""Calibrations of the account's devices, kept on this machine to plan offline.

One file holds a device's configuration as the platform sent it and its properties as the client
reads them, so that the backend that is built from it is the one that was fetched, to the last bit.
Files are private to the user and named after the device and a hash of the instance's CRN; neither
CRNs, names of instances nor tokens are in them. Only planning reads them: a device that can be
reached is always asked.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qiskit_ibm_runtime import IBMBackend
from qiskit_ibm_runtime.fake_provider.backend_encoder import BackendEncoder
from qiskit_ibm_runtime.utils.backend_decoder import (
    configuration_from_server_data,
    properties_from_server_data,
)

from hardware.devices.ibm.client import ask, guarded
from hardware.errors import HardwareError
from hardware.folders import cache_folder, write_private

#: Most files, and the longest one: fez, with 156 qubits, takes 0.7 MB.
MAX_FILES = 64
MAX_BYTES = 16_000_000
FORMAT = 1
_NAME = re.compile(r"[A-Za-z]\w{0,63}", re.ASCII)
_FILE = re.compile(r"[A-Za-z]\w{0,63}-[0-9a-f]{16}(-fractional)?\.json", re.ASCII)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class CachedCalibration:
    """A device as it was fetched.

    Args:
        backend: The client's own object, which cannot make requests.
        instance: SHA-256 of the CRN of the instance that it was fetched through.
        label: SHA-256 of that instance's name, empty where it was unknown.
        fetched_at: When it was fetched, UTC.
        calibrated_at: The calibration's own date, UTC.
        path: The file.
    """

    backend: IBMBackend
    instance: str
    label: str
    fetched_at: datetime
    calibrated_at: datetime
    path: Path

    @property
    def name(self) -> str:
        """Name of the device."""
        return str(self.backend.name)


def calibration_folder() -> Path:
    """Return the folder of the calibrations, in the cache folder; nothing is created."""
    return cache_folder() / "calibrations"


def instance_digest(text: str) -> str:
    """Return the SHA-256 of an instance's CRN or name, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def keep_calibration(backend: IBMBackend) -> None:
    """Keep the calibration of a device that has been fetched; log where that fails.

    A cache that cannot be written is no reason not to plan.
    """
    try:
        with guarded():
            document = ask(lambda: _document(backend), 60.0, "for a device's configuration")
        if document is not None:
            _write(document)
    except (HardwareError, OSError, TypeError, ValueError) as error:
        _logger.info("The calibration of %s is not kept. %s", backend.name, error)


def read_calibrations(
    device: str | None = None, *, fractional: bool = False
) -> tuple[list[CachedCalibration], list[str]]:
    """Return the calibrations that are kept, and sentences on files that cannot be used.

    Args:
        device: Name of a device; None for all.
        fractional: Whether those with the client's fractional gates are meant.

    Returns:
        Calibrations, the one that was fetched last first.
    """
    found, troubles = [], []
    for path in _files():
        if device is not None and not path.name.startswith(f"{device}-"):
            continue
        if path.stem.endswith("-fractional") is not fractional:
            continue
        try:
            found.append(_read(path))
        except (OSError, ValueError) as error:
            troubles.append(f"The cached calibration {path.name} cannot be used: {error}.")
    return sorted(found, key=lambda each: each.fetched_at, reverse=True), troubles


def _document(backend: IBMBackend) -> dict[str, Any] | None:
    """Return what is kept of a device; None where it has no calibration."""
    if backend._properties is None:
        return None
    service = backend.service
    crn = str(backend._instance or service.active_instance())
    names = [str(each.get("name")) for each in service.instances() if each.get("crn") == crn]
    return {
        "format": FORMAT,
        "device": str(backend.name),
        "instance": instance_digest(crn),
        "label": instance_digest(names[0]) if names else "",
        "fetched_at": datetime.now(UTC).isoformat(),
        "fractional": backend.options.use_fractional_gates,
        # The client keeps its answer: nothing is asked again. Its own `to_dict` would convert
        # microseconds to seconds and back, and lose the last bits.
        "configuration": backend._api_client.backend_configuration(backend.name),
        "properties": backend._properties.to_dict(),
    }


def _write(document: dict[str, Any]) -> None:
    device = document["device"]
    if not _NAME.fullmatch(device):
        raise ValueError("its name is not fit for a file")
    body = json.dumps(document, cls=BackendEncoder, sort_keys=True).encode()
    checked = hashlib.sha256(body).hexdigest().encode() + b"\n" + body
    write_private(calibration_folder() / _file_name(document), checked)
    oldest_first = sorted(_files(), key=lambda path: path.stat().st_mtime)
    for path in oldest_first[:-MAX_FILES]:
        path.unlink(missing_ok=True)


def _file_name(document: Mapping[str, Any]) -> str:
    kind = "" if document["fractional"] is False else "-fractional"
    return f"{document['device']}-{document['instance'][:16]}{kind}.json"


def _files() -> list[Path]:
    try:
        return [path for path in calibration_folder().iterdir() if _FILE.fullmatch(path.name)]
    except OSError:
        return []


def _read(path: Path) -> CachedCalibration:
    """Read a file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not what was written, or not written here.
    """
    checksum, _, body = _bytes_of(path).partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        raise ValueError("it is damaged, or another program's")
    try:
        document = json.loads(body)
        if document["format"] != FORMAT:
            raise ValueError("another version wrote it")
        if _file_name(document) != path.name:
            raise ValueError("it is another device's or instance's")
        fetched_at = datetime.fromisoformat(document["fetched_at"]).astimezone(UTC)
        instance, label = str(document["instance"]), str(document["label"])
        backend = ask(lambda: _rebuilt(document), 60.0)  # nobody can list what the client raises
        calibrated_at = backend._properties.last_update_date.astimezone(UTC)
    except (
        KeyError, TypeError, AttributeError, OverflowError, RecursionError, HardwareError,
    ) as error:  # fmt: skip
        raise ValueError("it is malformed") from error
    return CachedCalibration(backend, instance, label, fetched_at, calibrated_at, path)


def _bytes_of(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no regular file, or too long.
    """
    # O_NONBLOCK so that a named pipe with a cache file's name cannot hang the reader.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise ValueError("it is too long")
    return content


def _rebuilt(document: Mapping[str, Any]) -> IBMBackend:
    """Return the backend as the client builds it; without a service it can ask nothing.

    Raises:
        ValueError: It is another device.
    """
    fractional = document["fractional"]
    configuration = configuration_from_server_data(
        document["configuration"], use_fractional_gates=fractional
    )
    if configuration is None or configuration.backend_name != document["device"]:
        raise ValueError
    backend = IBMBackend(configuration=configuration, service=None, api_client=None)
    backend.options.use_fractional_gates = fractional
    backend._properties = properties_from_server_data(
        document["properties"], use_fractional_gates=fractional
    )
    _ = backend.target
    return backend
