"""All that a mitigation changes and costs before the client prepares it: options, random circuits.

What of it is computed here, the inversion of read-out errors, is in `hardware.circuits.readout`;
the intervals of what the client computes are in `hardware.circuits.intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from hardware.checks import is_number, is_whole
from hardware.circuits.layer_noise import LayerNoise
from hardware.errors import PlanError

#: Least ratio of the largest noise factor to the smallest. A line through nearer ones magnifies
#: the shots' error more than fifteenfold.
MIN_FACTOR_RATIO = 1.1
#: Fewer randomizations may all have swapped the same bits, and agree on a wrong mean.
ENOUGH_RANDOMIZATIONS = 16
#: Shots of a random circuit with PEC and PEA, as the client's PEC divides them: the circuits
#: differ more than shots do, so that many circuits count for more than many shots of each.
_SHOTS_OF_SAMPLED = 64

#: Preparations of the calibration circuits of read-out inversion, each with all the shots.
ReadoutKind = Literal["readout 0", "readout 1"]
READOUT: tuple[ReadoutKind, ReadoutKind] = ("readout 0", "readout 1")

#: Fields that older plans do not have.
_LATER = (
    "twirling_strategy", "zne_amplifier", "zne_extrapolator", "pec_mitigation", "pec_max_overhead",
    "layer_noise",
)  # fmt: skip


@dataclass(frozen=True)
class Mitigation:
    """What is done about errors, and what it costs.

    Names and values are the IBM client's own wherever it does the work; its own model checks the
    values when a plan is made. `zne_factors`, `measure_mitigation` and `pec_mitigation` take its
    estimator, which does not go with `readout_inversion`.

    Args:
        readout_inversion: Measure the read-out errors in every job and invert them. This takes two
            circuits more, each with all the shots.
        dynamical_decoupling: Pulse sequence that the client applies to idle qubits.
        twirl_gates: Randomise two-qubit gates with Paulis.
        twirl_measure: Randomise read-out with bit flips.
        num_randomizations: Number of randomized circuits when twirling. None: the client's number,
            but at least 16, or one a shot where there are fewer shots. PEC multiplies it by its
            overhead.
        zne_factors: Noise factors of zero-noise extrapolation (ZNE).
        measure_mitigation: Mitigate read-out errors by the client's estimator (TREX).
        twirling_strategy: Qubits that are twirled with a layer of gates: active, active-accum,
            active-circuit or all. None: the client's default.
        zne_amplifier: How ZNE amplifies noise: gate_folding, gate_folding_front,
            gate_folding_back or pea. PEA samples learned noise and needs `layer_noise`.
        zne_extrapolator: How ZNE extrapolates to zero noise: linear, polynomial_degree_K,
            exponential, double_exponential or fallback. Several are tried in their order. Standard
            errors are known of single polynomials through all points and of lines; with any other
            choice they are unknown, and labels count as undecided.
        pec_mitigation: Cancel gate noise by sampling its inverse (PEC). It needs `layer_noise`.
        pec_max_overhead: Largest factor by which PEC multiplies the randomizations. Where the noise
            asks for more, it is cancelled in part. None: as many as it asks for.
        layer_noise: Learned noise of the plan's layers of gates, for PEC and PEA. See
            `hardware.planning.noise_layers`. Empty: not learned yet; a plan can be made, not sent.
    """

    readout_inversion: bool = False
    dynamical_decoupling: Literal["XX", "XpXm", "XY4"] | None = None
    twirl_gates: bool = False
    twirl_measure: bool = False
    num_randomizations: int | None = None
    zne_factors: tuple[float, ...] = ()
    measure_mitigation: bool = False
    twirling_strategy: str | None = None
    zne_amplifier: str = "gate_folding"
    zne_extrapolator: str | tuple[str, ...] = "linear"
    pec_mitigation: bool = False
    pec_max_overhead: float | None = 100.0
    layer_noise: tuple[LayerNoise, ...] = ()

    def __post_init__(self) -> None:
        if self.dynamical_decoupling not in (None, "XX", "XpXm", "XY4"):
            raise PlanError(
                "Expected a decoupling sequence XX, XpXm or XY4, got "
                f"{self.dynamical_decoupling!r}."
            )
        self._check_factors()
        self._check_sampled()
        circuits = self.num_randomizations
        if circuits is not None and (not is_whole(circuits) or circuits < 1):
            raise PlanError(f"Expected at least one randomization, got {circuits}.")
        if circuits is not None and not self.twirls:
            raise PlanError(
                f"{circuits} randomizations need twirling: add twirl_gates or twirl_measure, or "
                "leave the number out.",
                options=("twirl_gates", "twirl_measure"),
            )
        if self.twirling_strategy is not None and not (self.twirl_gates or self.samples_noise):
            raise PlanError(
                "twirling_strategy chooses the qubits that are twirled with gates: add "
                "twirl_gates, or leave it out.",
                options=("twirling_strategy", "twirl_gates"),
            )
        if self.readout_inversion and self.estimator:
            raise PlanError(
                "readout_inversion cannot be combined with ZNE, PEC or measure_mitigation, which "
                "run on the client's estimator: leave one of them out.",
                options=("readout_inversion", "measure_mitigation"),
            )

    def _check_factors(self) -> None:
        """Refuse noise factors through which nothing can be fitted, and ZNE's options without."""
        factors = self.zne_factors
        good = all(is_number(factor) and factor >= 1 for factor in factors)
        if factors and (len(factors) < 2 or not good):
            raise PlanError(f"Expected at least two noise factors of one or more, got {factors}.")
        if factors and max(factors) < MIN_FACTOR_RATIO * min(factors):
            raise PlanError(
                f"Expected noise factors of which the largest is at least {MIN_FACTOR_RATIO:g} "
                f"times the smallest, got {factors}: a line needs different points."
            )
        names = self.extrapolators
        if not names or not all(isinstance(name, str) for name in names):
            raise PlanError(f"Expected the names of extrapolators, got {self.zne_extrapolator!r}.")
        if len(names) == 1 and (degree := _degree(names[0])) and factors:
            different = len(set(factors))
            if different <= degree:
                raise PlanError(
                    f"{names[0]} needs at least {degree + 1} different noise factors, got "
                    f"{different}.",
                    options=("zne_factors", "zne_extrapolator"),
                )
        if not factors and (self.zne_amplifier, names) != ("gate_folding", ("linear",)):
            raise PlanError(
                "zne_amplifier and zne_extrapolator need noise factors: add zne_factors, e.g. "
                "(1, 3, 5).",
                options=("zne_amplifier", "zne_extrapolator", "zne_factors"),
            )

    def _check_sampled(self) -> None:
        """Refuse PEC with ZNE, and options of PEC and PEA without one of them."""
        if self.pec_mitigation and self.zne_factors:
            raise PlanError(
                "PEC and ZNE do not go together: choose one of them.",
                options=("pec_mitigation", "zne_factors"),
            )
        limit = self.pec_max_overhead
        if limit is not None and not (is_number(limit) and limit >= 1):
            raise PlanError(
                "Expected an overhead of one or more, or pec_max_overhead=None for any, got "
                f"{limit!r}.",
                options=("pec_max_overhead",),
            )
        if not self.pec_mitigation and limit != 100.0:
            raise PlanError(
                "pec_max_overhead is a limit of PEC: add pec_mitigation, or leave it out.",
                options=("pec_max_overhead", "pec_mitigation"),
            )
        noise = self.layer_noise
        if not isinstance(noise, tuple) or not all(isinstance(each, LayerNoise) for each in noise):
            raise PlanError("Expected layer_noise as a tuple of LayerNoise.")
        if len({each.layer for each in noise}) != len(noise):
            raise PlanError("Expected the noise of each layer once in layer_noise.")
        if noise and not self.samples_noise:
            raise PlanError(
                "layer_noise is for PEC and PEA: add pec_mitigation or zne_amplifier='pea'.",
                options=("pec_mitigation", "zne_amplifier"),
            )

    @property
    def estimator(self) -> bool:
        """Whether the estimator is needed instead of counts."""
        return bool(self.zne_factors) or self.measure_mitigation or self.pec_mitigation

    @property
    def samples_noise(self) -> bool:
        """Whether circuits are drawn from learned noise: PEC cancels it, PEA amplifies it."""
        return self.pec_mitigation or self.amplifies_learned_noise

    @property
    def amplifies_learned_noise(self) -> bool:
        """Whether ZNE amplifies noise by PEA."""
        return bool(self.zne_factors) and self.zne_amplifier == "pea"

    @property
    def twirls(self) -> bool:
        """Whether the client randomises circuits; the estimator's read-out mitigation does too."""
        return (
            self.twirl_gates or self.twirl_measure or self.measure_mitigation or self.samples_noise
        )

    @property
    def extrapolators(self) -> tuple[str, ...]:
        """Names of ZNE's extrapolators in the order in which they are tried."""
        chosen = self.zne_extrapolator
        return (chosen,) if isinstance(chosen, str) else tuple(chosen)

    @property
    def extrapolation_degree(self) -> int | None:
        """Degree of the extrapolating polynomial, None where the error of its value is unknown.

        The client weighs points by their measured errors. A polynomial through all of them does
        not depend on that, and a line hardly; the value at the smallest factor has degree 0. Errors
        of exponentials are of first order only, and which of several is taken depends on the data.
        """
        if len(self.extrapolators) != 1:
            return None
        degree = _degree(self.extrapolators[0])
        return degree if degree in (0, 1, len(self.zne_factors) - 1) else None

    @property
    def lacks_layer_noise(self) -> bool:
        """Whether noise has to be learned before the plan can be sent."""
        return self.samples_noise and not self.layer_noise

    def check_learned(self) -> None:
        """Refuse PEC and PEA without learned noise.

        Raises:
            PlanError: They are asked for, and `layer_noise` is empty.
        """
        if self.lacks_layer_noise:
            name = "PEC" if self.pec_mitigation else "PEA"
            raise PlanError(
                f"{name} needs the noise of the plan's layers of gates, which is not learned yet: "
                "learn it (hardware.planning.noise_layers says how) and plan again with "
                "layer_noise.",
                options=("layer_noise",),
            )

    def randomizations(self, shots: int) -> int:
        """Return the random circuits that shots are divided among; 1 without twirling.

        PEC runs more of them, by its overhead: `JobPlan.sampling_overhead`.
        """
        if not self.twirls:
            return 1
        if self.num_randomizations is not None:
            return self.num_randomizations
        each = _SHOTS_OF_SAMPLED if self.samples_noise else max(64, math.ceil(shots / 32))
        return max(math.ceil(shots / each), min(shots, ENOUGH_RANDOMIZATIONS))

    def client_options(self, shots: int) -> dict[str, Any]:
        """Return what it asks of the client's primitive, nested as the client nests it.

        The noise of layers is not among it: the client wants it with the layers themselves.
        """
        chosen: dict[str, Any] = {}
        if self.dynamical_decoupling is not None:
            chosen["dynamical_decoupling"] = {
                "enable": True,
                "sequence_type": self.dynamical_decoupling,
            }
        if self.twirls or self.estimator:
            chosen["twirling"] = {
                "enable_gates": self.twirl_gates or self.samples_noise,
                "enable_measure": self.twirl_measure
                or self.measure_mitigation
                or self.samples_noise,
            }
            if self.twirls:
                chosen["twirling"]["num_randomizations"] = self.randomizations(shots)
            if self.twirling_strategy is not None:
                chosen["twirling"]["strategy"] = self.twirling_strategy
        if self.estimator:
            chosen["resilience_level"] = 0
            chosen["default_shots"] = shots
            chosen["resilience"] = self._resilience()
        return chosen

    def _resilience(self) -> dict[str, Any]:
        chosen: dict[str, Any] = {
            "measure_mitigation": self.measure_mitigation,
            "zne_mitigation": bool(self.zne_factors),
        }
        if self.zne_factors:
            several = not isinstance(self.zne_extrapolator, str)
            chosen["zne"] = {
                "noise_factors": list(self.zne_factors),
                "extrapolator": list(self.extrapolators) if several else self.zne_extrapolator,
            }
            if self.zne_amplifier != "gate_folding":
                chosen["zne"]["amplifier"] = self.zne_amplifier
        if self.pec_mitigation:
            chosen["pec_mitigation"] = True
            chosen["pec"] = {"max_overhead": self.pec_max_overhead}
        return chosen

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a plan holds them.

        The key of a plan follows from them: what came later is left out where it has its default,
        and `measure_mitigation` has the name of its first days, so that keys stay.
        """
        found = asdict(self)
        for later in fields(self):
            if later.name in _LATER and getattr(self, later.name) == later.default:
                del found[later.name]
        found["resilience"] = found.pop("measure_mitigation")
        return found

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Mitigation:
        """Return the mitigation that `to_dict` wrote."""
        known = dict(stored)
        if "resilience" in known:
            known["measure_mitigation"] = known.pop("resilience")
        known["zne_factors"] = tuple(known["zne_factors"])
        if not isinstance(chosen := known.get("zne_extrapolator", "linear"), str):
            known["zne_extrapolator"] = tuple(chosen)
        noise = known.get("layer_noise", ())
        known["layer_noise"] = tuple(LayerNoise.from_dict(each) for each in noise)
        return cls(**known)


def _degree(extrapolator: str) -> int | None:
    """Return the degree of a polynomial extrapolator, None of another; 0: none is fitted."""
    if extrapolator in ("fallback", "linear"):
        return int(extrapolator == "linear")
    name, _, degree = extrapolator.rpartition("_")
    return int(degree) if name == "polynomial_degree" and degree.isdecimal() else None
