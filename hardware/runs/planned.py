"""Plans on devices: make one for a device by its name, and open a plan's device again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from qiskit.providers import BackendV2

from hardware.checks import check_shots
from hardware.circuits.adaptive import LinearRule
from hardware.devices.backends import ExecutionLimits, calibration_id, working_target
from hardware.devices.base import Device
from hardware.devices.cached import CachedDevice
from hardware.devices.login import Account
from hardware.devices.named import NamedDevice, parse_device
from hardware.errors import (
    BusyError,
    InvalidInputError,
    LoginServiceError,
    PlanError,
    UnclearError,
    UnknownBackendError,
    UnknownTargetError,
)
from hardware.planning import planner
from hardware.planning.options import PlanOptions
from hardware.planning.plan import JobPlan
from hardware.planning.tiled_circuit import check_isa
from hardware.runs.offline import open_cached
from hardware.runs.opening import named_device, open_device
from hardware.runs.permission import check_options
from hardware.workload import Workload

#: Devices that the caller named in this process. A plan from a file may name any Python function.
_named_here: set[str] = set()
_logger = logging.getLogger(__name__)


def plan(
    workload: Workload,
    target: str | Device,
    options: PlanOptions | None = None,
    *,
    account: Account | None = None,
    offline: bool = False,
    rule: LinearRule | None = None,
    likely: np.ndarray | None = None,
) -> JobPlan:
    """Spread a workload over a device; nothing is sent and nothing is spent.

    Where the platform cannot be reached, the plan is made from the calibration that was kept when
    the device was last asked; its first note then says how old that is.

    Args:
        workload: N rows of one circuit.
        target: ``"fake:fez"``, ``"ibm:ibm_fez:2000"``, ``"ibm:best"``, an open device, or
            ``"backend:my.module:make"``, which imports that module and calls ``make()`` for a
            `BackendV2`.
        options: Shots, tiles, mitigation, limits; shots may stand in the target instead.
        account: Which account and instance of the platform; None: the client's default.
        offline: Make no network call, and plan by the calibration that was kept.
        rule: Which label the values of a row stand for; needed with adaptive shots.
        likely: Values (N, M) without noise, by which adaptive shots expect their rounds.

    Returns:
        The plan, with its cost as `JobPlan.cost`. `print` shows it in one line.

    Raises:
        InvalidInputError: `workload` or `target` is something else.
        UnknownTargetError, UnknownBackendError: There is no such device.
        AccountError, ServiceError: The platform cannot be asked for its calibration, and none is
            kept.
        PlanError: The workload does not fit on the device, or it does not take the options.
    """
    if not isinstance(workload, Workload):
        raise InvalidInputError(
            f"Expected a hardware.Workload, got {workload!r:.60}. Make one of the circuit, its "
            "parameters, their values and the observables."
        )
    if not isinstance(target, str) and not hasattr(target, "backend"):
        raise InvalidInputError(
            f"Expected a device or its name, such as 'fake:fez', got {target!r:.60}."
        )
    if not isinstance(target, str):
        check_options(options or PlanOptions(), target)
        made = planner.plan(workload, _backend(target, options), options, rule=rule, likely=likely)
        return _remarked(made, target)
    named = parse_device(target, account, offline=offline)
    device = planning_device(named, workload)
    return plan_on(device, named, workload, options, rule=rule, likely=likely)


def planning_device(named: NamedDevice, workload: Workload | None = None) -> Device:
    """Open a device to plan for; where the platform cannot be reached, as it was last fetched.

    The device is a `CachedDevice` then, which takes no jobs.

    Raises:
        HardwareError: As `open_device`.
    """
    try:
        device = open_device(named, workload)
        _ = device.backend  # its calibration, which is fetched when it is first needed
    except (LoginServiceError, UnclearError, BusyError) as error:
        if named.kind != "ibm" or named.offline:
            raise
        try:
            cached = open_cached(named, workload)
        except UnknownBackendError:
            raise error from None
        _logger.warning("The plan is made offline. %s", error)
        return cached.remarked("The platform could not be reached.")
    return device


def plan_on(
    device: Device,
    named: NamedDevice,
    workload: Workload,
    options: PlanOptions | None = None,
    about: Mapping[str, Any] | None = None,
    rule: LinearRule | None = None,
    likely: np.ndarray | None = None,
) -> JobPlan:
    """Plan for a device that has been opened under a name.

    Args:
        about: What the caller wants to find again with the plan, JSON-able.
        rule, likely: As for `plan`.

    Raises:
        PlanError: The workload does not fit on the device, or it does not take the options.
    """
    _named_here.add(named.name)
    options = with_shots(options, named)
    check_options(options, device)
    spec = named.spec(device.name, options.shots)
    backend = _backend(device, options)
    made = planner.plan(
        workload, backend, options, target=spec, about=about, rule=rule, likely=likely
    )
    return _remarked(made, device)


def _remarked(made: JobPlan, device: Device) -> JobPlan:
    """Return a plan with what its device says of its calibration."""
    if not isinstance(device, CachedDevice):
        return made
    used = device.fractional if made.options.fractional_gates else device
    remarks = () if used is None else used.remarks
    return replace(made, notes=(*remarks, *made.notes), num_remarks=len(remarks))


def _backend(device: Device, options: PlanOptions | None) -> BackendV2:
    """Return a device's backend, with its gates of any angle where a plan is to use them.

    Raises:
        PlanError: It has none.
    """
    fractional = options is not None and options.fractional_gates
    return device.fractional_backend if fractional else device.backend


def with_shots(options: PlanOptions | None, named: NamedDevice) -> PlanOptions:
    """Return plan options with the shots of a device's specification, if it has any.

    Raises:
        InvalidInputError: The options have shots of their own, and others.
    """
    options = options or PlanOptions()
    if named.shots is None:
        return options
    check_shots(named.shots, where=" in the target")
    if options.shots not in (PlanOptions.shots, named.shots):
        raise InvalidInputError(
            f"The shots are given twice: {named.shots} in the target and {options.shots} in the "
            "options. Leave one of them out."
        )
    return replace(options, shots=named.shots)


def planned_device(plan: JobPlan, account: Account | None = None) -> Device:
    """Open the device that a plan was made for, and check that the plan still holds there.

    Args:
        plan: The plan.
        account: Which account and instance of the platform; None: the client's default.

    Raises:
        UnknownTargetError: Nothing here can open it: give the device itself.
        PlanError: See `check_calibration`.
        AccountError, UnknownBackendError, ServiceError: It cannot be opened.
    """
    local = plan.backend.startswith("fake_")
    named = named_device(plan.target, plan.backend, local=local)
    if named.kind == "backend" and named.name not in _named_here:
        raise UnknownTargetError(
            f"The plan would import and run {named.name}, and plans may come from others: open the "
            "device yourself and give it as device=…."
        )
    if account is not None:
        named = replace(named, account=account)
    device = open_device(named)
    if plan.backend != device.name:
        raise PlanError(
            f"The plan is for {plan.backend}, and the device is {device.name}: plan again."
        )
    if not device.local:
        check_calibration(plan, device)
    return device


def check_calibration(plan: JobPlan, device: Device) -> None:
    """Refuse a plan that its device cannot run any more; log where only its errors have changed.

    Raises:
        PlanError: It has lost a qubit or an instruction that the plan needs, or waits between two
            shots for another time than the plan's cost was computed with.
    """
    backend = _backend(device, plan.options)
    wait = ExecutionLimits.of(backend).chosen_rep_delay(plan.options.rep_delay)
    if wait != plan.timing.rep_delay:
        raise PlanError(
            f"{plan.backend} waits {wait * 1e6:g} µs between two shots; the plan's cost was "
            f"computed with {plan.timing.rep_delay * 1e6:g} µs: plan again."
        )
    today = working_target(backend)
    for circuit in plan.circuits:
        check_isa(circuit, today)
    if calibration_id(backend) != plan.calibration_id:
        _logger.warning(
            "%s was calibrated again since the plan was made: the tiles' expected errors are those "
            "of then. Plan again to choose by today's.",
            plan.backend,
        )
