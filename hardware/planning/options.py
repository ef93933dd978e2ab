"""Options of a plan, as data."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from numbers import Real
from typing import Any, Literal

from hardware.checks import check_shots, is_whole
from hardware.errors import PlanError

#: How the client extrapolates: always a straight line, whose standard errors
#: `hardware.circuits.intervals` knows. The client's own choice may be an exponential that diverges.
EXTRAPOLATOR = "linear"
#: Least ratio of the largest noise factor to the smallest. A line through nearer ones magnifies
#: the shots' error more than fifteenfold.
MIN_FACTOR_RATIO = 1.1
#: Fewer randomizations may all have swapped the same bits, and agree on a wrong mean.
ENOUGH_RANDOMIZATIONS = 16


def _is_number(value: object) -> bool:
    """Return whether a value is a finite real number."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class JobLimits:
    """What one job may hold; see the platform's documentation, these move.

    Args:
        executions: Parameter sets × shots.
        seconds: Estimated QPU time.
        payload_bytes: Circuits and parameter values.
    """

    executions: int = 10_000_000
    seconds: float = 3 * 3600.0
    payload_bytes: int = 40 << 20

    def __post_init__(self) -> None:
        whole = is_whole(self.executions) and is_whole(self.payload_bytes)
        if not whole or not _is_number(self.seconds):
            raise PlanError(
                f"Expected whole numbers of executions and bytes and finite seconds, got {self}."
            )
        if min(self.executions, self.seconds, self.payload_bytes) <= 0:
            raise PlanError(f"Expected limits above zero, got {self}.")


@dataclass(frozen=True)
class CostModel:
    """How long a device takes beside running circuits. Seconds.

    Args:
        sub_job: Fixed time of every item of a job's program: its circuit is compiled and loaded.
    """

    sub_job: float = 2.0

    def __post_init__(self) -> None:
        if not (_is_number(self.sub_job) and self.sub_job >= 0):
            raise PlanError(f"Expected a finite time of zero or more seconds, got {self}.")


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
        resilience: The estimator's own read-out mitigation.
    """

    readout_inversion: bool = False
    dynamical_decoupling: Literal["XX", "XpXm", "XY4"] | None = None
    twirl_gates: bool = False
    twirl_measure: bool = False
    num_randomizations: int | None = None
    zne_factors: tuple[float, ...] = ()
    resilience: bool = False

    def __post_init__(self) -> None:
        if self.dynamical_decoupling not in (None, "XX", "XpXm", "XY4"):
            raise PlanError(
                "Expected a decoupling sequence XX, XpXm or XY4, got "
                f"{self.dynamical_decoupling!r}."
            )
        good = all(_is_number(factor) and factor >= 1 for factor in self.zne_factors)
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
                "Expected read-out inversion or the estimator's path (ZNE, resilience), got both: "
                "the estimator mitigates read-out itself."
            )

    @property
    def estimator(self) -> bool:
        """Whether the estimator is needed instead of counts."""
        return bool(self.zne_factors) or self.resilience

    @property
    def twirls(self) -> bool:
        """Whether the client randomises circuits; the estimator's read-out mitigation does too."""
        return self.twirl_gates or self.twirl_measure or self.resilience

    def randomizations(self, shots: int) -> int:
        """Return the random circuits that shots are divided among; 1 without twirling."""
        if not self.twirls:
            return 1
        if self.num_randomizations is not None:
            return self.num_randomizations
        of_client = math.ceil(shots / max(64, math.ceil(shots / 32)))
        return max(of_client, min(shots, ENOUGH_RANDOMIZATIONS))


@dataclass(frozen=True)
class PlanOptions:
    """How a workload is spread over a device.

    Args:
        shots: Shots of every row and measurement setting.
        tiles: Disjoint regions that each run another row; None takes as many as save time and are
            good enough.
        buffer: Keep one idle qubit between tiles.
        spare_qubits: Qubits of every tile beyond the circuit's, for routing: a ring of ten closes
            over the twelve of a heavy-hex cell with fewer gates than inside ten.
        max_error_ratio: With ``tiles=None``, drop tiles whose expected error exceeds that of the
            best by more than this factor.
        mitigation: What is done about errors.
        limits: What one job may hold.
        cost: How long a device takes.
        rep_delay: Wait between two shots, seconds, sent with every job; None: the device's default.
        solver_seconds: Time for the exact packing before the greedy one is taken.
        optimization_level: Qiskit's, 0 to 3.
        seed: Seed of local simulators; devices ignore it.
    """

    shots: int = 4096
    tiles: int | None = None
    buffer: bool = False
    spare_qubits: int = 0
    max_error_ratio: float = 2.0
    mitigation: Mitigation = field(default_factory=Mitigation)
    limits: JobLimits = field(default_factory=JobLimits)
    cost: CostModel = field(default_factory=CostModel)
    rep_delay: float | None = None
    solver_seconds: float = 20.0
    optimization_level: int = 3
    seed: int | None = None

    def __post_init__(self) -> None:
        check_shots(self.shots, error=PlanError)
        if self.tiles is not None and (not is_whole(self.tiles) or self.tiles < 1):
            raise PlanError(f"Expected at least one tile, a whole number, got {self.tiles}.")
        if not is_whole(self.spare_qubits) or self.spare_qubits < 0:
            raise PlanError(f"Expected zero or more spare qubits, got {self.spare_qubits}.")
        if self.seed is not None and (not is_whole(self.seed) or self.seed < 0):
            raise PlanError(f"Expected a seed of zero or more, a whole number, got {self.seed}.")
        if self.rep_delay is not None and not (_is_number(self.rep_delay) and self.rep_delay >= 0):
            raise PlanError(
                "Expected a repetition delay of zero or more seconds, or None, got "
                f"{self.rep_delay!r}."
            )
        if not self.solver_seconds >= 0:
            raise PlanError(f"Expected zero or more solver seconds, got {self.solver_seconds}.")
        for name, kind in (("mitigation", Mitigation), ("limits", JobLimits), ("cost", CostModel)):
            if not isinstance(given := getattr(self, name), kind):
                raise PlanError(f"Expected {name} as {kind.__name__}, got {given!r}.")
        if not self.max_error_ratio >= 1:
            raise PlanError(f"Expected an error ratio of one or more, got {self.max_error_ratio}.")
        if not is_whole(self.optimization_level) or self.optimization_level not in range(4):
            raise PlanError(f"Expected a level of 0 to 3, got {self.optimization_level}.")

    def canonical_json(self) -> str:
        """Return the options as text that is equal for equal options."""
        return json.dumps(
            asdict(self),
            sort_keys=True,
            separators=(",", ":"),
            default=lambda scalar: scalar.item(),
        )

    @classmethod
    def from_json(cls, text: str) -> PlanOptions:
        """Return the options that `canonical_json` wrote."""
        data: dict[str, Any] = json.loads(text)
        mitigation = data.pop("mitigation")
        mitigation["zne_factors"] = tuple(mitigation["zne_factors"])
        return cls(
            mitigation=Mitigation(**mitigation),
            limits=JobLimits(**data.pop("limits")),
            cost=CostModel(**data.pop("cost")),
            **data,
        )

    def primitive_options(self) -> dict[str, Any]:
        """Return the options of the client's primitive, nested as the client nests them."""
        chosen: dict[str, Any] = {}
        if self.rep_delay is not None:
            chosen["execution"] = {"rep_delay": float(self.rep_delay)}
        wanted = self.mitigation
        if wanted.dynamical_decoupling is not None:
            chosen["dynamical_decoupling"] = {
                "enable": True,
                "sequence_type": wanted.dynamical_decoupling,
            }
        if wanted.twirls or wanted.estimator:
            chosen["twirling"] = {
                "enable_gates": wanted.twirl_gates,
                "enable_measure": wanted.twirl_measure or wanted.resilience,
            }
            if wanted.twirls:
                circuits = wanted.randomizations(self.shots)
                chosen["twirling"]["num_randomizations"] = circuits
        if wanted.estimator:
            chosen["resilience_level"] = 0
            chosen["default_shots"] = self.shots
            chosen["resilience"] = {
                "measure_mitigation": wanted.resilience,
                "zne_mitigation": bool(wanted.zne_factors),
            }
            if wanted.zne_factors:
                chosen["resilience"]["zne"] = {
                    "noise_factors": list(wanted.zne_factors),
                    "extrapolator": EXTRAPOLATOR,
                }
        return chosen
