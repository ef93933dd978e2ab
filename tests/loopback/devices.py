"""The fake devices' own JSON, as the platform would send it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import qiskit_ibm_runtime.fake_provider.backends as fakes

_FOLDER = Path(fakes.__file__).parent


@cache
def _read(family: str, part: str) -> str:
    return (_FOLDER / family / f"{part}_{family}.json").read_text()


def configuration(name: str) -> dict[str, Any]:
    """Return the configuration of a device, e.g. ``"ibm_fez"`` from FakeFez's file."""
    raw = json.loads(_read(name.removeprefix("ibm_"), "conf"))
    raw["backend_name"] = name
    return raw


def properties(name: str) -> dict[str, Any]:
    """Return the calibration of a device."""
    raw = json.loads(_read(name.removeprefix("ibm_"), "props"))
    raw["backend_name"] = name
    return raw


def num_qubits(name: str) -> int:
    """Return the number of qubits of a device."""
    return int(configuration(name)["n_qubits"])
