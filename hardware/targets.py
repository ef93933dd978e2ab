"""Where a workload can be run, behind one small protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2

from hardware.checks import check_shots, parse_shots
from hardware.devices.named import DEVICES, is_device, parse_device
from hardware.errors import BudgetError, UnknownTargetError, did_you_mean
from hardware.workload import Expectations, Workload


@runtime_checkable
class ExecutionTarget(Protocol):
    """A place that runs workloads: a simulator, an emulator or a device."""

    @property
    def spec(self) -> str:
        """The canonical specification, e.g. ``"noisy:0.001,0.01:4096"``."""

    def estimator(self) -> BaseEstimatorV2:
        """Return a V2 estimator that runs here, for `EstimatorQNN`."""

    def sampler(self) -> BaseSamplerV2:
        """Return a V2 sampler that runs here, for `SamplerQNN`."""

    def run(self, workload: Workload) -> Expectations:
        """Run all parameter sets of a workload and return their expectation values."""


#: Specifications that `parse_target` reads, by kind.
SYNTAX = {
    "shots": "shots:N",
    "noisy": "noisy:P1,P2[,READOUT][:N]",
    "aer": "aer:NAME[:N]",
    **DEVICES,
}


def parse_target(spec: str, *, seed: int | None = None) -> ExecutionTarget:
    """Turn a specification into a target.

    ``shots:1024`` has ideal gates; ``noisy:0.001,0.01,0.02`` depolarises with λ = 0.001 after each
    one-qubit and 0.01 after each two-qubit gate and flips 2 % of the measured bits (`noise` says
    what λ is); ``aer:fez`` has the calibration of `FakeFez`; ``fake:fez`` goes through the whole
    path of planning, tiling and the client's primitives on a local double of it; ``ibm:NAME`` is
    the device itself, which runs nothing without a budget. A last ``:N`` sets the shots, 4096 by
    default. Aer and the IBM client are imported only where a target needs them.

    Raises:
        UnknownTargetError: The specification cannot be parsed.
        UnknownBackendError: No backend has the given name.
        InvalidInputError: Shots below one or above `MAX_SHOTS`, or a rate outside [0, 1].
    """
    kind, _, rest = spec.strip().partition(":")
    if kind == "exact":
        raise UnknownTargetError(
            "Expected a target with shots, got 'exact': the exact simulator belongs to qhead, not "
            "to the devices and their emulations."
        )
    if kind not in SYNTAX and not is_device(spec):
        raise UnknownTargetError(
            f"Expected a target such as {', '.join(SYNTAX.values())}, got {spec!r}."
            f"{did_you_mean(kind, SYNTAX)}"
        )
    fields = rest.split(":") if rest else []
    from hardware.emulation.calibrated import CalibratedTarget
    from hardware.emulation.emulated import DEFAULT_SHOTS
    from hardware.emulation.rates import NoisyTarget, ShotsTarget

    if kind == "shots":
        _expect(len(fields) == 1, kind, spec)
        return ShotsTarget(shots=parse_shots(fields[0], spec), seed=seed)
    if is_device(spec):
        named = parse_device(spec)
        shots = DEFAULT_SHOTS if named.shots is None else named.shots
        if not named.local:
            return DeviceTarget(named.name, shots, named.kind)
        from hardware.emulation.fake import FakeTarget

        return FakeTarget.of(named.name, shots, seed)
    _expect(len(fields) in (1, 2) and all(fields), kind, spec)
    shots = parse_shots(fields[1], spec) if len(fields) == 2 else DEFAULT_SHOTS
    if kind == "noisy":
        rates = [_number(text, spec) for text in fields[0].split(",")]
        _expect(len(rates) in (2, 3), kind, spec)
        return NoisyTarget(*rates, shots=shots, seed=seed)
    return CalibratedTarget(fields[0], shots=shots, seed=seed)


@dataclass(frozen=True)
class DeviceTarget:
    """A real device: ``ibm:NAME[:N]``, ``backend:MODULE:FUNCTION[:N]`` or of a package's own kind.

    Only names the place: running there spends QPU time, so plan and submit with a budget.
    """

    backend: str
    shots: int
    kind: str = "ibm"

    def __post_init__(self) -> None:
        check_shots(self.shots)

    @property
    def spec(self) -> str:
        """The canonical specification."""
        return f"{self.kind}:{self.backend}:{self.shots}"

    def estimator(self) -> BaseEstimatorV2:
        """Refuse."""
        raise self._refusal()

    def sampler(self) -> BaseSamplerV2:
        """Refuse."""
        raise self._refusal()

    def run(self, workload: Workload) -> Expectations:
        """Refuse.

        Raises:
            BudgetError: Always.
        """
        raise self._refusal()

    def _refusal(self) -> BudgetError:
        return BudgetError(
            f"{self.backend} runs nothing without a budget in QPU seconds: make a plan, see its "
            "cost and submit it with a budget."
        )


def _expect(good: bool, kind: str, spec: str) -> None:
    if not good:
        raise UnknownTargetError(f"Expected {SYNTAX[kind]}, got {spec!r}.")


def _number(text: str, spec: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UnknownTargetError(f"Expected a rate, got {text!r} in {spec!r}.") from None
