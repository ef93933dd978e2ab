"""Many parameter sets of one circuit, through simulators, emulators and devices.

Describe the rows as a `Workload`; `parse_target("aer:fez").run(workload)` emulates them at once.
A device has three steps: `plan` (pure: tiles, jobs and cost), `submit` (the one call that spends,
within a budget) and `Run.collect`, from any process and on any day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardware.importing import on_demand

if TYPE_CHECKING:
    from hardware.circuits.adaptive import AdaptiveShots, LinearRule
    from hardware.devices.login import Account
    from hardware.errors import HardwareError
    from hardware.planning.mitigation import Mitigation
    from hardware.planning.options import PlanOptions
    from hardware.planning.plan import JobPlan
    from hardware.planning.plan_file import dump_plan, load_plan
    from hardware.runs.planned import plan
    from hardware.runs.progress import RunStatus
    from hardware.runs.run import Run, submit
    from hardware.targets import parse_target
    from hardware.workload import Expectations, Workload

# Name → module. Nothing is imported before it is used: Qiskit takes seconds.
_EXPORTS = {
    "Account": "hardware.devices.login",
    "AdaptiveShots": "hardware.circuits.adaptive",
    "Expectations": "hardware.workload",
    "HardwareError": "hardware.errors",
    "JobPlan": "hardware.planning.plan",
    "LinearRule": "hardware.circuits.adaptive",
    "Mitigation": "hardware.planning.mitigation",
    "PlanOptions": "hardware.planning.options",
    "Run": "hardware.runs.run",
    "RunStatus": "hardware.runs.progress",
    "Workload": "hardware.workload",
    "dump_plan": "hardware.planning.plan_file",
    "load_plan": "hardware.planning.plan_file",
    "parse_target": "hardware.targets",
    "plan": "hardware.runs.planned",
    "submit": "hardware.runs.run",
}

__all__ = [
    "Account",
    "AdaptiveShots",
    "Expectations",
    "HardwareError",
    "JobPlan",
    "LinearRule",
    "Mitigation",
    "PlanOptions",
    "Run",
    "RunStatus",
    "Workload",
    "dump_plan",
    "load_plan",
    "parse_target",
    "plan",
    "submit",
]


__getattr__, __dir__ = on_demand(__name__, _EXPORTS)
