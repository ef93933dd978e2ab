"""A local double of the IBM Quantum platform's REST interface, for tests.

The unmodified client talks to it over HTTP on the loopback interface. It serves the fake devices'
own calibration data, executes jobs with Aer, counts what was executed and charged, and injects
faults at chosen requests. See `Cloud` (what the platform knows), `Loopback` (the HTTP server),
`FaultPlan` (what goes wrong, and when).
"""

from loopback.cloud import Cloud, Job
from loopback.faults import (
    CLOSED_BATCH,
    Change,
    Cut,
    Drop,
    EndJob,
    FaultPlan,
    Garble,
    Reply,
    Slow,
    random_fault,
)
from loopback.server import Loopback

__all__ = [
    "CLOSED_BATCH",
    "Change",
    "Cloud",
    "Cut",
    "Drop",
    "EndJob",
    "FaultPlan",
    "Garble",
    "Job",
    "Loopback",
    "Reply",
    "Slow",
    "random_fault",
]
