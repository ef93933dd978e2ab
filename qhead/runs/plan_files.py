"""Plans in files."""

from __future__ import annotations

import logging
from pathlib import Path

from hardware.errors import PlanError
from hardware.planning.plan import JobPlan
from hardware.planning.plan_file import dump_plan, load_plan
from qhead.errors import DataError, InputError
from qhead.files import replacing, write_synced
from qhead.runs.metadata import RunMetadata, SavedModel
from qhead.runs.sentences import read_again

_logger = logging.getLogger(__name__)


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


def read_planned(
    path: Path, *, model: Path | None = None, data: str | None = None
) -> tuple[JobPlan, RunMetadata]:
    """Read a plan, and check that the model and the sentences are still those that it is of.

    Args:
        path: The plan's file.
        model: The model's folder; None: where it was.
        data: Where the sentences are now. None: where they were; others there are only warned of.

    Raises:
        PlanError, InputError: As `read_plan`, or the plan is not of a model's predictions.
        ModelError: The model has changed.
        DataError: Other sentences are in `data`.
    """
    plan = read_plan(path)
    metadata = RunMetadata.of(plan, str(path))
    if metadata.model is not None:
        metadata.model.check(SavedModel.of(model or Path(metadata.model.path)))
    source = metadata.data.source
    if data is not None:
        try:
            read_again(metadata.data, data)
        except DataError as error:
            raise DataError(f"{path}: {error} Plan again to send these.") from error
    elif source not in (None, "-") and Path(str(source)).exists():  # no network call for the Hub's
        try:
            read_again(metadata.data)
        except DataError as error:
            _logger.warning(
                "%s Those of the plan %s are sent; plan again to send today's.", error, path
            )
    return plan, metadata
