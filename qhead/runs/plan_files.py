"""Plans in files."""

from __future__ import annotations

from pathlib import Path

from hardware.errors import PlanError
from hardware.planning.plan import JobPlan
from hardware.planning.plan_file import dump_plan, load_plan
from qhead.errors import InputError
from qhead.files import replacing, write_synced


def save_plan(plan: JobPlan, path: Path) -> None:
    """Write a plan into a file, whole or not at all; one that is there is replaced.

    Raises:
        InputError: The disk refuses; nothing was changed.
    """
    write_bytes(path, dump_plan(plan))


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
            f"Cannot read the plan file {path}: {error.strerror or error}. "
            "`qhead plan … --out FILE` writes one."
        ) from error
    try:
        return load_plan(data)
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error
