"""Plans of a model's predictions: sentences as rows of a circuit, and what makes labels of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hardware.circuits.adaptive import LinearRule
from hardware.devices.base import Device
from hardware.devices.named import NamedDevice
from hardware.errors import PlanError
from hardware.planning.options import PlanOptions
from hardware.planning.plan import JobPlan
from hardware.runs.opening import open_device
from hardware.runs.planned import plan_on, planning_device
from hardware.workload import Workload
from qhead.errors import DataError
from qhead.progress import waiting
from qhead.runs.metadata import Readout, Recalibration, RunMetadata, SavedModel
from qhead.runs.sentences import Sentences
from qhead.simulator import ExactTarget

#: Fewest sentences that a line can be fitted to.
_ENOUGH = 3


@dataclass(frozen=True, eq=False)
class DeviceRows:
    """A model's predictions as rows of its circuit.

    Args:
        workload: Rows of the sentences, then of those to recalibrate on.
        metadata: What makes labels of the results; goes with the plan.
    """

    workload: Workload
    metadata: RunMetadata


def check_recalibration(sentences: Sentences) -> None:
    """Refuse too few sentences to refit a read-out on.

    Raises:
        DataError: They are too few.
    """
    if len(sentences.texts) < _ENOUGH:
        raise DataError(
            f"{sentences.source.source or 'recalibrate'}: expected at least three sentences to "
            f"recalibrate on, got {len(sentences.texts)}."
        )


def rows_of(
    workload: Workload,
    sentences: Sentences,
    recalibrate: Sentences | None,
    readout: Readout,
    model: SavedModel | None,
) -> DeviceRows:
    """Return rows with what makes labels of their results.

    Args:
        workload: Rows of `sentences`, then of `recalibrate`.
        sentences: What is predicted.
        recalibrate: Sentences to refit the read-out on; their rows are simulated exactly here.
        readout: The model's linear layer and classes.
        model: Where the model is saved, if it is.
    """
    recalibration = None
    if recalibrate is not None:
        rows = workload.rows(slice(len(sentences.texts), None))
        exact: Sequence[Sequence[float]] = ExactTarget().run(rows).values.tolist()  # (R, M)
        recalibration = Recalibration(recalibrate.source, tuple(map(tuple, exact)))
    return DeviceRows(workload, RunMetadata(sentences.source, readout, model, recalibration))


def plan_rows(
    rows: DeviceRows, named: NamedDevice, options: PlanOptions, *, fallback: bool = False
) -> tuple[JobPlan, Device]:
    """Plan rows on a device and return the plan with the device; nothing is sent.

    Args:
        rows: The rows.
        named: The device.
        options: Shots, tiles, mitigation, limits.
        fallback: Plan by the calibration that is kept where the platform cannot be reached. The
            device takes no jobs then.

    Raises:
        AccountError, ServiceError: The platform cannot be asked for its calibration.
        PlanError: The circuit does not fit on the device as asked, or adaptive shots are asked for
            together with sentences to recalibrate on.
    """
    workload, rule, likely = rows.workload, None, None
    if options.adaptive is not None:
        rule = _rule(rows.metadata)
        likely = ExactTarget().run(workload).values
    with waiting(f"looking up {named.name}"):
        device = (planning_device if fallback else open_device)(named, workload)
    with waiting(f"planning {workload.num_samples:,} rows on {device.name}"):
        about = rows.metadata.as_dict()
        plan = plan_on(device, named, workload, options, about, rule=rule, likely=likely)
    return plan, device


def _rule(metadata: RunMetadata) -> LinearRule:
    """Return the rule by which adaptive shots decide on labels: the read-out.

    Raises:
        PlanError: It is to be refitted on the run's own results.
    """
    if metadata.recalibration is not None:
        raise PlanError(
            "Adaptive shots decide by the read-out as it was trained, before the results that it "
            "would be refitted on: leave out recalibrate, or adaptive.",
            options=("recalibrate", "adaptive"),
        )
    assert metadata.readout is not None, "plans of this version carry one"
    return LinearRule(metadata.readout.weight, metadata.readout.bias)
