"""All that a mitigation changes and costs before the client prepares it: options, random circuits.

What of it is computed here, the inversion of read-out errors, is in `hardware.circuits.readout`;
the intervals of what the client computes are in `hardware.circuits.intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hardware.checks import is_number, is_whole
from hardware.errors import PlanError

#: How the client extrapolates: always a straight line, whose standard errors
#: `hardware.circuits.intervals` knows. The client's own choice may be an exponential that diverges.
EXTRAPOLATOR = "linear"
#: Least ratio of the largest noise factor to the smallest. A line through nearer ones magnifies
#: the shots' error more than fifteenfold.
MIN_FACTOR_RATIO = 1.1
#: Fewer randomizations may all have swapped the same bits, and agree on a wrong mean.
ENOUGH_RANDOMIZATIONS = 16

#: Preparations of the calibration circuits of read-out inversion, each with all the shots.
ReadoutKind = Literal["readout 0", "readout 1"]
READOUT: tuple[ReadoutKind, ReadoutKind] = ("readout 0", "readout 1")


@dataclass(frozen=True)
class Mitigation:
    """What is done about errors, and what it costs.

    Args:
        readout_inversion: Measure the read-out of the tiles' own qubits in every job (two circuits,
            each with all the shots) and invert it.
        dynamical_decoupling: Pulse sequence on idle qubits, applied by the client.
        twirl_gates: Randomise two-qubit gates with Paulis.
        twirl_measure: Randomise read-out with bit flips.
        num_randomizations: Random circuits of a twirled one; None: the client's number, but at
            least `ENOUGH_RANDOMIZATIONS`, or one a shot where there are fewer shots.
        zne_factors: Noise factors of zero-noise extrapolation by a straight line; needs the
            estimator's path.
        measure_mitigation: The estimator's own read-out mitigation.
    """

    readout_inversion: bool = False
    dynamical_decoupling: Literal["XX", "XpXm", "XY4"] | None = None
    twirl_gates: bool = False
    twirl_measure: bool = False
    num_randomizations: int | None = None
    zne_factors: tuple[float, ...] = ()
    measure_mitigation: bool = False

    def __post_init__(self) -> None:
        if self.dynamical_decoupling not in (None, "XX", "XpXm", "XY4"):
            raise PlanError(
                "Expected a decoupling sequence XX, XpXm or XY4, got "
                f"{self.dynamical_decoupling!r}."
            )
        good = all(is_number(factor) and factor >= 1 for factor in self.zne_factors)
        if self.zne_factors and (len(self.zne_factors) < 2 or not good):
            raise PlanError(
                f"Expected at least two noise factors of one or more, got {self.zne_factors}."
            )
        if self.zne_factors and max(self.zne_factors) < MIN_FACTOR_RATIO * min(self.zne_factors):
            raise PlanError(
                f"Expected noise factors of which the largest is at least {MIN_FACTOR_RATIO:g} "
                f"times the smallest, got {self.zne_factors}: a line needs different points."
            )
        circuits = self.num_randomizations
        if circuits is not None and (not is_whole(circuits) or circuits < 1):
            raise PlanError(f"Expected at least one randomization, got {circuits}.")
        if circuits is not None and not self.twirls:
            raise PlanError(
                f"{circuits} randomizations need twirling: add twirl_gates or twirl_measure, or "
                "leave the number out.",
                options=("twirl_gates", "twirl_measure"),
            )
        if self.readout_inversion and self.estimator:
            raise PlanError(
                "Expected read-out inversion or the estimator's path (ZNE, measure_mitigation), "
                "got both: the estimator mitigates read-out itself."
            )

    @property
    def estimator(self) -> bool:
        """Whether the estimator is needed instead of counts."""
        return bool(self.zne_factors) or self.measure_mitigation

    @property
    def twirls(self) -> bool:
        """Whether the client randomises circuits; the estimator's read-out mitigation does too."""
        return self.twirl_gates or self.twirl_measure or self.measure_mitigation

    def randomizations(self, shots: int) -> int:
        """Return the random circuits that shots are divided among; 1 without twirling."""
        if not self.twirls:
            return 1
        if self.num_randomizations is not None:
            return self.num_randomizations
        of_client = math.ceil(shots / max(64, math.ceil(shots / 32)))
        return max(of_client, min(shots, ENOUGH_RANDOMIZATIONS))

    def client_options(self, shots: int) -> dict[str, Any]:
        """Return what it asks of the client's primitive, nested as the client nests it."""
        chosen: dict[str, Any] = {}
        if self.dynamical_decoupling is not None:
            chosen["dynamical_decoupling"] = {
                "enable": True,
                "sequence_type": self.dynamical_decoupling,
            }
        if self.twirls or self.estimator:
            chosen["twirling"] = {
                "enable_gates": self.twirl_gates,
                "enable_measure": self.twirl_measure or self.measure_mitigation,
            }
            if self.twirls:
                circuits = self.randomizations(shots)
                chosen["twirling"]["num_randomizations"] = circuits
        if self.estimator:
            chosen["resilience_level"] = 0
            chosen["default_shots"] = shots
            chosen["resilience"] = {
                "measure_mitigation": self.measure_mitigation,
                "zne_mitigation": bool(self.zne_factors),
            }
            if self.zne_factors:
                chosen["resilience"]["zne"] = {
                    "noise_factors": list(self.zne_factors),
                    "extrapolator": EXTRAPOLATOR,
                }
        return chosen

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Mitigation:
        """Return the mitigation whose fields a plan holds.

        Plans of earlier versions call `measure_mitigation` ``resilience``.
        """
        known = dict(fields)
        if "resilience" in known:
            known["measure_mitigation"] = known.pop("resilience")
        known["zne_factors"] = tuple(known["zne_factors"])
        return cls(**known)
