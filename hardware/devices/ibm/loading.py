"""What the client fetches late or reads too kindly, fetched within a deadline and checked."""

from __future__ import annotations

from dataclasses import dataclass

from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService

from hardware.devices.asking import LATER
from hardware.devices.ibm.calibration_cache import keep_calibration
from hardware.devices.ibm.client import ask, guarded
from hardware.errors import UnclearError


@dataclass(frozen=True)
class Deadlines:
    """How long to wait for an answer, in seconds. The client itself waits for ever.

    Args:
        request: Small requests; the client's own retries take up to 15 s.
        send: Submission of a job, payload included.
        download: Download of a result.
    """

    request: float = 60.0
    send: float = 900.0
    download: float = 600.0


def load_calibration(backend: IBMBackend, seconds: float = Deadlines.request) -> None:
    """Fetch a device's calibration, which the client does when an attribute is first touched.

    What was fetched is kept for planning offline, see `hardware.devices.ibm.calibration_cache`.

    Raises:
        AccountError, ServiceError: It could not be fetched, or is malformed.
    """
    known = backend._properties is not None
    with guarded():
        ask(lambda: backend.target, seconds, f"for the calibration of {backend.name}")
    if not known:
        keep_calibration(backend)


def check_device_list(service: QiskitRuntimeService, seconds: float = Deadlines.request) -> None:
    """Make sure that an account without devices has none; the client takes any answer for a list.

    Raises:
        UnclearError: The platform's answer is no list of devices.
        AccountError, ServiceError: It cannot be asked.
    """
    with guarded():
        answer = ask(service._active_api_client._api.backends, seconds, "for the list of devices")
    if not isinstance(answer, dict) or not isinstance(answer.get("devices"), list):
        raise UnclearError(
            "The platform was asked for the list of devices and failed: its answer is cut or "
            f"malformed. {LATER}"
        )
