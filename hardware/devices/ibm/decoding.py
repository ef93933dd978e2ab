"""Decode what the platform sent as a result and check it before mitigation hides what is missing.

The client's estimator turns samples into expectation values when it decodes them: of a result with
half of its shots only a larger standard error would be left.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from qiskit_ibm_runtime.decoders.defaults import DEFAULT_DECODERS
from qiskit_ibm_runtime.decoders.executor_sampler.utils import TWIRLING_PREFIX
from qiskit_ibm_runtime.results.quantum_program import QuantumProgramResult

from hardware.devices.base import JobRequest, result_arrays
from hardware.errors import BadResultError

_PROGRAM = "executor"  # what the client's primitives run on the platform
#: Of the quasi-probabilities that PEC samples.
_SIGNS = "pauli_signs"
_AGAIN = "The result was cut or changed on its way: collect the run again to fetch it anew."


def decoded_arrays(raw: object, request: JobRequest) -> dict[str, np.ndarray]:
    """Return the arrays of a received result, see `hardware.devices.base.result_arrays`.

    Raises:
        BadResultError: It cannot be decoded or does not fit the request. Whatever is raised has
            what was received with it, as `received`: a private job's result comes once.
    """
    try:
        return result_arrays(decoded(raw, request), request)
    except BaseException as error:
        error.received = raw  # type: ignore[attr-defined]
        raise


def decoded(raw: object, request: JobRequest) -> object:
    """Return what the client makes of a received result.

    Raises:
        BadResultError: It cannot be decoded, or has other shots than were asked for.
    """
    value: Any = raw
    try:
        for decoder in DEFAULT_DECODERS[_PROGRAM]:
            if decoder.is_applicable(value):
                value = decoder.decode(value)
                if isinstance(value, QuantumProgramResult):
                    _check_samples(value, request)
    except BadResultError:
        raise
    except Exception as error:
        # Whatever the client stumbles over in its depths, it stumbles over what was received.
        raise BadResultError(f"The client cannot decode the result. {_AGAIN}") from error
    return value


def _check_samples(result: QuantumProgramResult, request: JobRequest) -> None:
    """Check that all outcomes are bits, and the shots that an estimator's precision takes.

    Axes of an item's arrays: random circuits, parameter sets and bases, shots, bits; with PEA
    noise factors before them. Each set gets the shots of all random circuits together, a few more
    where they do not divide, and with PEC many more.
    """
    shots, each = None, 0
    if request.primitive == "estimator" and request.precision is not None:
        shots = math.ceil(1 / request.precision**2)  # as the client counts; a sampler's are checked
        # PEC may run so many circuits that half of the shots of each would be enough together.
        each = math.ceil(shots / request.options.get("twirling", {}).get("num_randomizations", 1))
    for index, item in enumerate(result):
        if not len(item):
            raise BadResultError(f"Program item {index} has no registers. {_AGAIN}")
        for name, array in item.items():
            if array.dtype != bool:
                raise BadResultError(f"{name!r} holds {array.dtype} in place of bits. {_AGAIN}")
            if shots is None or name.startswith(TWIRLING_PREFIX) or name == _SIGNS:
                continue
            circuits = array.shape[-4] if array.ndim > 3 else array.shape[0]
            found = circuits * array.shape[-2] if array.ndim > 2 else 0
            if found < shots or array.shape[-2] < each:
                raise BadResultError(
                    f"Program item {index}: expected {shots} shots in {name!r}, got {found}. "
                    f"{_AGAIN}"
                )
