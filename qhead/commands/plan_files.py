"""Plans in files, and plans of yesterday on the device of today."""

from __future__ import annotations

from pathlib import Path

from hardware.devices.backends import ExecutionLimits, calibration_id, working_target
from hardware.devices.ibm.device import PlatformDevice
from hardware.errors import PlanError
from hardware.planning.plan import JobPlan
from hardware.planning.plan_file import load_plan
from hardware.planning.tiled_circuit import check_isa
from qhead.commands.guard import complain
from qhead.errors import InputError
from qhead.files import replacing, write_synced


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all; one that is there is replaced.

    Raises:
        InputError: The disk refuses; nothing was changed.
    """
    with replacing(path.absolute()) as partial:
        write_synced(partial, content)


def read_plan(path: Path) -> JobPlan:
    """Return the plan in a file.

    Raises:
        PlanError: It holds no plan, or one that was changed since it was made.
        InputError: It cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"Expected a plan file at {path}, got: {error.strerror or error}. "
            "`qhead plan … --out FILE` writes one."
        ) from error
    try:
        return load_plan(data)
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error


def check_calibration(made: JobPlan, device: PlatformDevice) -> None:
    """Check a plan against the device as it is today.

    Raises:
        PlanError: It has lost an instruction that the plan needs, or waits between two shots for
            another time than the plan's cost was computed with.
    """
    wait = ExecutionLimits.of(device.backend).chosen_rep_delay(made.options.rep_delay)
    if wait != made.timing.rep_delay:
        raise PlanError(
            f"{made.backend} waits {wait * 1e6:g} µs between two shots; the plan's cost was "
            f"computed with {made.timing.rep_delay * 1e6:g} µs: plan again."
        )
    today = working_target(device.backend)
    for circuit in made.circuits:
        check_isa(circuit, today)
    if calibration_id(device.backend) != made.calibration_id:
        complain(
            "Warning",
            f"{made.backend} was calibrated again since the plan was made: the tiles' expected "
            "errors are those of then. Plan again to choose by today's.",
        )
