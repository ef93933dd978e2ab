"""A job that was done when it was made."""

from __future__ import annotations

import uuid
from typing import Any

from qiskit.primitives import BasePrimitiveJob
from qiskit.providers import JobStatus


class FinishedJob(BasePrimitiveJob[Any, JobStatus]):
    """What the exact primitives return: their work is over in less time than a thread's start."""

    def __init__(self, result: Any) -> None:
        super().__init__(str(uuid.uuid4()))
        self._result = result

    def result(self) -> Any:
        """Return the result."""
        return self._result

    def status(self) -> JobStatus:
        """Return `JobStatus.DONE`."""
        return JobStatus.DONE

    def done(self) -> bool:
        """Return True."""
        return True

    def running(self) -> bool:
        """Return False."""
        return False

    def cancelled(self) -> bool:
        """Return False."""
        return False

    def in_final_state(self) -> bool:
        """Return True."""
        return True

    def cancel(self) -> None:
        """Do nothing: there is nothing left to cancel."""
