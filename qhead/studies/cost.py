"""QPU seconds of a study's settings on a fake device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardware.devices.backends import fake_backend
from hardware.planning.options import PlanOptions
from hardware.planning.planner import plan
from hardware.workload import Workload

#: Sentences that costs are stated for.
PRICED = 1000
#: Shots of the two plans that the line goes through.
_FEW, _MANY = 1024, 4096


@dataclass(frozen=True)
class DeviceCost:
    """Estimated QPU seconds of `PRICED` sentences: a fixed part, and so much a shot.

    Args:
        fixed: Seconds whatever the shots.
        per_shot: Seconds of one more shot of every sentence.
        tiles: Tiles used at the same time.
    """

    fixed: float
    per_shot: float
    tiles: int

    @classmethod
    def of(cls, workload: Workload, device: str, *, tiles: int | None) -> DeviceCost:
        """Plan rows like those of a workload on a fake device, with few and with many shots.

        Args:
            workload: The circuit; its rows are repeated.
            device: Name of the fake device.
            tiles: How many; None: as many as are good enough.

        Raises:
            PlanError: The circuit does not fit on the device.
        """
        rows = workload.rows(np.resize(np.arange(workload.num_samples), PRICED))
        few, many = (
            plan(rows, fake_backend(device), PlanOptions(shots=shots, tiles=tiles)).cost
            for shots in (_FEW, _MANY)
        )
        per_shot = (many.qpu_seconds - few.qpu_seconds) / (_MANY - _FEW)
        return cls(few.qpu_seconds - _FEW * per_shot, per_shot, few.tiles)

    def seconds(self, shots: float) -> float:
        """Return the QPU seconds for this number of shots a sentence, each or on average."""
        return self.fixed + self.per_shot * shots
