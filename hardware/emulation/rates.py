"""Local targets of no device: finite shots alone, and depolarising noise by rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qiskit.circuit import QuantumCircuit

from hardware.circuits.transforms import (
    light_cone,
    restrict_to_active,
    translate,
    translate_all_but,
)
from hardware.emulation.emulated import EmulatedTarget
from hardware.emulation.noise import RATE_BASIS, check_probability, depolarizing_noise
from hardware.emulation.sampling import PreparedCircuit


@dataclass(frozen=True)
class ShotsTarget(EmulatedTarget):
    """Ideal gates and read-out, finite shots: ``shots:N``."""

    @property
    def spec(self) -> str:
        return f"shots:{self.shots}"

    def prepare(self, circuit: QuantumCircuit, measured: Sequence[int]) -> PreparedCircuit:
        basis = [*RATE_BASIS, "h", "rzz", "swap", "p", "u"]
        cone, active = restrict_to_active(light_cone(circuit, measured), measured)
        bits = tuple(active.index(qubit) for qubit in measured)
        return PreparedCircuit(translate(cone, basis), bits)


@dataclass(frozen=True)
class NoisyTarget(EmulatedTarget):
    """Depolarising and read-out noise by rate: ``noisy:P1,P2[,READOUT][:N]``.

    Gates that cannot influence what is measured are dropped, which changes no result. The others
    are translated one by one to `noise.RATE_BASIS`, nothing is merged or cancelled, and every gate
    but RZ carries its error. All rates zero is an explicitly noiseless run.

    Args:
        p1: λ of Qiskit's ``depolarizing_error(λ, 1)`` after each one-qubit gate.
        p2: λ of ``depolarizing_error(λ, 2)`` after each two-qubit gate.
        readout: Probability that a measured bit is flipped.
    """

    p1: float
    p2: float
    readout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "p1", check_probability(self.p1, "P1"))
        object.__setattr__(self, "p2", check_probability(self.p2, "P2"))
        object.__setattr__(self, "readout", check_probability(self.readout, "READOUT"))

    @property
    def spec(self) -> str:
        rates = [self.p1, self.p2, self.readout] if self.readout else [self.p1, self.p2]
        return f"noisy:{','.join(_number(rate) for rate in rates)}:{self.shots}"

    def prepare(self, circuit: QuantumCircuit, measured: Sequence[int]) -> PreparedCircuit:
        translated = translate_all_but(light_cone(circuit, measured), RATE_BASIS)
        noise = depolarizing_noise(translated, self.p1, self.p2, self.readout)
        report = noise.attach(translated, measured)
        return PreparedCircuit(translated, tuple(measured), noise, report)


def _number(value: float) -> str:
    return repr(value).removesuffix(".0")
