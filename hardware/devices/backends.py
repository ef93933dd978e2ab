"""Find backends by name."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.providers import BackendV2
from qiskit.transpiler import InstructionProperties, Target

from hardware.circuits.hashing import digest
from hardware.devices import calibration
from hardware.errors import PlanError, UnknownBackendError, did_you_mean
from hardware.importing import import_whole

#: Wait between two shots where the device states none, seconds.
USUAL_REP_DELAY = 250e-6


@lru_cache(maxsize=1)
def _fake_classes() -> dict[str, Any]:
    # Imported here: the client takes most of a second.
    from qiskit_ibm_runtime import fake_provider
    from qiskit_ibm_runtime.fake_provider.fake_backend import FakeBackendV2

    classes: dict[str, Any] = {}
    for value in vars(fake_provider).values():
        if isinstance(value, type) and issubclass(value, FakeBackendV2):
            classes[getattr(value, "backend_name", "").removeprefix("fake_")] = value
    classes.pop("", None)  # the base class has no name
    return classes


def fake_names() -> tuple[str, ...]:
    """Return the short names of all fake backends, sorted: ``"fez"`` for `FakeFez`."""
    return tuple(sorted(_fake_classes()))


def fake_name(name: str) -> str:
    """Return the short name of a fake backend given as fez, fake_fez, FakeFez or ibm_fez.

    Raises:
        UnknownBackendError: No fake backend has this name.
    """
    short = name.lower()
    for prefix in ("fake_", "ibm_", "fake"):
        short = short.removeprefix(prefix)
    short = short.removesuffix("v2")
    if short not in _fake_classes():
        raise UnknownBackendError(
            f"Expected the name of a fake backend such as 'fez', got {name!r}."
            f"{did_you_mean(short, fake_names())} "
            "`qhead backends` lists all."
        )
    return short


@lru_cache(maxsize=8)
def fake_backend(name: str) -> BackendV2:
    """Return the fake backend of this name; the same object for the same name.

    Raises:
        UnknownBackendError: No fake backend has this name.
    """
    import_whole("qiskit_aer")  # as the client's fakes do, but they take Ctrl-C for its absence
    return _fake_classes()[fake_name(name)]()


def no_fractional_gates(name: str) -> PlanError:
    """Return the error for a device without gates of any angle."""
    return PlanError(
        f"{name} has no gates of any angle whose errors are known: plan without fractional_gates.",
        options=("fractional_gates",),
    )


@lru_cache(maxsize=8)
def fractional_fake(backend: BackendV2) -> BackendV2:
    """Return a fake backend whose target has the fractional gates that its calibration holds.

    Many fakes know the errors and durations of RX and RZZ and leave the gates out of their targets.

    Raises:
        PlanError: The calibration knows no such gate.
    """
    # Imported here: the client takes most of a second.
    from qiskit_ibm_runtime.utils.utils import is_fractional_gate

    stated: Any = backend.properties() if hasattr(backend, "properties") else None
    target, library = deepcopy(backend.target), get_standard_gate_name_mapping()
    known: dict[str, dict[tuple[int, ...], InstructionProperties]] = {}
    for entry in () if stated is None else stated.gates:
        gate = library.get(entry.gate)
        if gate is None or not is_fractional_gate(gate) or entry.gate in target.operation_names:
            continue
        where, told = tuple(entry.qubits), {each.name: each for each in entry.parameters}
        if {"gate_error", "gate_length"} <= told.keys():
            known.setdefault(entry.gate, {})[where] = InstructionProperties(
                error=stated.gate_error(entry.gate, where),
                duration=stated.gate_length(entry.gate, where),
            )
    for name, properties in known.items():
        target.add_instruction(library[name], properties, name=name)
    if not calibration.has_fractional_gates(target):
        raise no_fractional_gates(str(backend.name))
    found = copy(backend)
    found._target = target
    return found


def working_target(backend: BackendV2) -> Target:
    """Return the backend's target without what is unknown or does not work."""
    return calibration.working(backend.target)


def calibration_id(backend: BackendV2) -> str:
    """Return an identifier of a backend's calibration: equal for equal numbers, 16 letters."""
    target = backend.target
    lines = [str(backend.name)]
    for name in sorted(target.operation_names):
        for qubits, properties in sorted((target[name] or {}).items(), key=str):
            if properties is not None:
                lines.append(f"{name} {qubits} {properties.error!r} {properties.duration!r}")
    for qubit, about in enumerate(target.qubit_properties or ()):
        if about is not None:
            lines.append(f"{qubit} {about.t1!r} {about.t2!r}")
    return digest("\n".join(lines).encode())[:16]


def calibration_snapshot(backend: BackendV2, regions: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return what the calibration says of some regions, JSON-able; times in seconds."""
    target = backend.target
    qubits = sorted({qubit for region in regions for qubit in region})
    inside = set(qubits)
    about = target.qubit_properties or [None] * target.num_qubits
    errors = {
        f"{name} {'-'.join(map(str, where))}": properties.error
        for name in sorted(target.operation_names)
        for where, properties in sorted((target[name] or {}).items(), key=str)
        if where is not None and inside.issuperset(where)
        if properties is not None and properties.error
    }
    return {
        "backend": str(backend.name),
        "id": calibration_id(backend),
        "regions": [list(region) for region in regions],
        "t1": {str(q): getattr(about[q], "t1", None) for q in qubits},
        "t2": {str(q): getattr(about[q], "t2", None) for q in qubits},
        "errors": errors,
    }


def _most_shots(backend: BackendV2) -> int | None:
    """Return the most shots that a provider's backend says it takes, by the two usual ways."""
    bounds = getattr(backend.options, "validator", {}).get("shots")
    if isinstance(bounds, tuple) and len(bounds) == 2:
        return int(bounds[1])
    most = getattr(backend, "max_shots", getattr(backend, "MAX_SHOTS", None))
    return most if isinstance(most, int) else None


@dataclass(frozen=True)
class ExecutionLimits:
    """What a device's configuration says of one execution; None where it says nothing.

    Args:
        name: The device.
        max_shots: Most shots of one circuit with one set of values.
        max_circuits: Most circuits of a job, every set of values in a circuit of its own; the
            platform, which takes arrays of values, has no such limit.
        rep_delay: Wait between two shots unless a job asks for another, seconds.
        rep_delay_range: Shortest and longest wait that a job may ask for, seconds.
        adjustable: Whether a job may ask for a wait at all.
    """

    name: str
    max_shots: int | None = None
    rep_delay: float | None = None
    rep_delay_range: tuple[float, float] | None = None
    adjustable: bool | None = None
    max_circuits: int | None = None

    @classmethod
    def of(cls, backend: BackendV2) -> ExecutionLimits:
        """Read a backend; those that are not IBM's have no configuration."""
        read = getattr(backend, "configuration", None)
        if not callable(read):
            return cls(
                name=str(backend.name),
                max_shots=_most_shots(backend),
                max_circuits=backend.max_circuits,
            )
        stated = read()
        span = getattr(stated, "rep_delay_range", None)
        return cls(
            name=str(backend.name),
            max_shots=getattr(stated, "max_shots", None),
            rep_delay=getattr(stated, "default_rep_delay", None),
            rep_delay_range=(float(span[0]), float(span[1])) if span else None,
            adjustable=getattr(stated, "dynamic_reprate_enabled", None),
        )

    def chosen_rep_delay(self, asked: float | None) -> float:
        """Return the wait between two shots of a job, seconds.

        Args:
            asked: The wait that the job asks for; None for the device's default.

        Raises:
            PlanError: The device does not take it.
        """
        if asked is None:
            return USUAL_REP_DELAY if self.rep_delay is None else self.rep_delay
        if self.adjustable is False:
            raise PlanError(
                f"{self.name} does not let a job choose the repetition delay: leave it out."
            )
        # The configuration is in microseconds, turned into seconds with an error of rounding.
        if self.rep_delay_range is not None:
            low, high = self.rep_delay_range
            if not low * (1 - 1e-9) <= asked <= high * (1 + 1e-9):
                raise PlanError(
                    f"Expected a repetition delay from {low * 1e6:g} to {high * 1e6:g} µs on "
                    f"{self.name}, got {asked * 1e6:g} µs."
                )
        return float(asked)

    def check_shots(self, shots: int) -> None:
        """Refuse a program with more shots of one circuit than the device takes.

        Raises:
            PlanError: They are too many.
        """
        if self.max_shots is not None and shots > self.max_shots:
            raise PlanError(
                f"Expected at most {self.max_shots:,} shots of one circuit on {self.name}, got "
                f"{shots:,}: take fewer shots, or divide them over more randomizations by twirling."
            )
