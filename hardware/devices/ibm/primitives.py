"""The client's primitives, for the platform and for its local mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hardware.devices.base import JobRequest
from hardware.devices.ibm.layers import set_layer_noise


def make_primitive(
    request: JobRequest,
    mode: object,
    options: Mapping[str, Any],
) -> Callable[[], Any]:
    """Return a call that runs a request's PUBs with the client's primitive.

    Raises:
        PlanError: The noise of a layer is missing.
    """
    # Imported here: the client takes most of a second.
    from qiskit_ibm_runtime.executor_estimator import Estimator
    from qiskit_ibm_runtime.executor_sampler import Sampler

    if request.primitive == "sampler":
        sampler = Sampler(mode=mode, options=dict(options))
        return lambda: sampler.run(list(request.pubs), shots=request.shots)
    estimator = Estimator(mode=mode, options=dict(options))
    if request.layer_noise:
        set_layer_noise(estimator.options, request.pubs, request.layer_noise)
    return lambda: estimator.run(list(request.pubs), precision=request.precision)
