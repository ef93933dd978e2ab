"""Options of a plan, as data."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from hardware.checks import check_shots, is_number, is_whole
from hardware.circuits.adaptive import AdaptiveShots
from hardware.errors import PlanError
from hardware.planning.mitigation import Mitigation

#: How a run's jobs go to the platform.
Mode = Literal["job", "batch", "session"]
#: Own tags of a job. The client and the platform's pages state no limits; these keep tags readable.
MAX_TAGS, MAX_TAG_LENGTH = 8, 64
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:/=+@-]*")
#: Begins the tags by which the ledger finds its jobs.
OUR_TAGS = "qhead-"
#: Options that came after the first plans: left out where they have their default, so that equal
#: plans keep their keys.
_LATER = ("mode", "max_time", "private", "tags", "fractional_gates", "adaptive")


@dataclass(frozen=True)
class JobLimits:
    """What one job may hold; see the platform's documentation, these move.

    Args:
        executions: Most parameter sets × shots in one job.
        seconds: Most QPU seconds in one job, estimated.
        payload_bytes: Most bytes of circuits and parameter values in one job.
    """

    executions: int = 10_000_000
    seconds: float = 3 * 3600.0
    payload_bytes: int = 40 << 20

    def __post_init__(self) -> None:
        whole = is_whole(self.executions) and is_whole(self.payload_bytes)
        if not whole or not is_number(self.seconds):
            raise PlanError(
                f"Expected whole numbers of executions and bytes and finite seconds, got {self}."
            )
        if min(self.executions, self.seconds, self.payload_bytes) <= 0:
            raise PlanError(
                "A job must be allowed at least one execution, some time and some bytes, got "
                f"{self.executions} executions, {self.seconds:g} s, {self.payload_bytes} bytes."
            )


@dataclass(frozen=True)
class CostModel:
    """How long a device takes beside running circuits. Seconds.

    Args:
        sub_job: Fixed time of every item of a job's program: its circuit is compiled and loaded.
    """

    sub_job: float = 2.0

    def __post_init__(self) -> None:
        if not (is_number(self.sub_job) and self.sub_job >= 0):
            raise PlanError(f"Expected a finite time of zero or more seconds, got {self}.")


def check_tags(tags: object) -> None:
    """Check the caller's own tags of jobs.

    Raises:
        PlanError: They are too many or too long, have other characters than those of names, repeat
            one, or begin as the ledger's do.
    """
    if not isinstance(tags, tuple) or not all(isinstance(tag, str) for tag in tags):
        raise PlanError(f"Expected a tuple of tags, got {tags!r}.")
    if len(tags) > MAX_TAGS:
        raise PlanError(f"Expected at most {MAX_TAGS} tags, got {len(tags)}: {', '.join(tags)}.")
    if repeated := [tag for tag in dict.fromkeys(tags) if tags.count(tag) > 1]:
        raise PlanError(f"Expected each tag once, got {', '.join(map(repr, repeated))} repeated.")
    for tag in tags:
        if len(tag) > MAX_TAG_LENGTH or not _TAG.fullmatch(tag):
            raise PlanError(
                f"Expected a tag of at most {MAX_TAG_LENGTH} letters, digits, spaces and "
                f"._:/=+@-, beginning with a letter or a digit, got {tag!r}."
            )
        if tag.lower().startswith(OUR_TAGS):
            raise PlanError(
                f"Tags that begin with {OUR_TAGS} are the ledger's, which finds jobs by them: "
                f"choose another word than {tag!r}."
            )


@dataclass(frozen=True)
class PlanOptions:
    """How a workload is spread over a device.

    Args:
        shots: Shots per row and measurement setting; with `adaptive` at most.
        tiles: Disjoint regions that each run another row; None takes as many as save time and are
            good enough, and one with PEC, whose overhead is the product of that of all tiles.
        buffer: Keep one idle qubit between tiles.
        spare_qubits: Qubits per tile beyond the circuit's, for routing. A ring of ten closes over
            the twelve of a heavy-hex cell with fewer gates than inside ten.
        max_error_ratio: Drop tiles whose expected error exceeds the best one's by more than this
            factor. Where a number of tiles is given, none is dropped.
        mitigation: What is done about errors.
        limits: What one job may hold.
        cost: How long a device takes.
        rep_delay: Seconds to wait between two shots. None: the device's default.
        solver_seconds: Time for the exact packing before the greedy one is taken.
        optimization_level: Qiskit's, 0 to 3.
        seed: Seed of local simulators; devices ignore it.
        mode: How jobs are sent. None: a batch where there are several jobs, else job. A batch is
            charged for what its jobs use. A session holds the device for one user and is charged
            from the start of its first job to its end, pauses included; it takes no more jobs once
            the last has been sent or the next one has to wait, and then ends with its last. Jobs
            that are left get another session. Every session is opened with a time limit that keeps
            its charge within the budget.
        max_time: Time limit of a batch or a session, whole seconds. None: the platform's own for
            a batch, and what the budget allows for a session.
        private: Let the platform delete a job's input when it ends and its result once it is read.
            The ledger holds both; what is lost there cannot be fetched again.
        tags: Your own tags for every job on the platform. They are sent beside those of the ledger,
            which begin with ``qhead-``.
        fractional_gates: Use the device's gates of any angle, RX and RZZ, beside its usual ones.
            An RZZ in the circuit is then one two-qubit gate in place of two. Angles that the
            device does not take are folded into its range by the client's own rule, row by row.
            Twirled gates, zero-noise extrapolation and error cancellation do not work with them.
        adaptive: Spend the shots in rounds, and go on only with rows whose label is undecided; the
            plan then needs a rule for labels. Its rounds, if given, say the shots, where these have
            their default. None: all shots at once.
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
    mode: Mode | None = None
    max_time: int | None = None
    private: bool = False
    tags: tuple[str, ...] = ()
    fractional_gates: bool = False
    adaptive: AdaptiveShots | None = None

    def __post_init__(self) -> None:
        if self.adaptive is not None and self.shots == PlanOptions.shots:
            # The rounds say the shots where nobody else does.
            object.__setattr__(self, "shots", sum(self.adaptive.rounds) or self.shots)
        check_shots(self.shots, error=PlanError)
        if self.tiles is not None and (not is_whole(self.tiles) or self.tiles < 1):
            raise PlanError(f"Expected at least one tile, a whole number, got {self.tiles}.")
        if not is_whole(self.spare_qubits) or self.spare_qubits < 0:
            raise PlanError(f"Expected zero or more spare qubits, got {self.spare_qubits}.")
        if self.seed is not None and (not is_whole(self.seed) or self.seed < 0):
            raise PlanError(f"Expected a seed of zero or more, a whole number, got {self.seed}.")
        if self.rep_delay is not None and not (is_number(self.rep_delay) and self.rep_delay >= 0):
            raise PlanError(
                f"Expected rep_delay of zero or more seconds, got {self.rep_delay!r}.",
                options=("rep_delay",),
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
        self._check_sending()

    def _check_sending(self) -> None:
        """Check mode, time limit, privacy and tags."""
        if self.mode not in (None, *get_args(Mode)):
            raise PlanError(f"Expected a mode of {', '.join(get_args(Mode))}, got {self.mode!r}.")
        if self.max_time is not None:
            if not is_whole(self.max_time) or self.max_time < 1:
                raise PlanError(
                    f"Expected a time limit of one or more whole seconds, got {self.max_time!r}."
                )
            if self.mode not in ("batch", "session"):
                raise PlanError(
                    "max_time limits a batch or a session: choose the mode as well.",
                    options=("max_time", "mode"),
                )
        for name in ("private", "fractional_gates"):
            if not isinstance(getattr(self, name), bool):
                raise PlanError(f"Expected {name} as True or False, got {getattr(self, name)!r}.")
        asked = self.mitigation
        if self.fractional_gates and (
            asked.twirl_gates or asked.zne_factors or asked.pec_mitigation
        ):
            raise PlanError(
                "Twirled gates, zero-noise extrapolation and error cancellation (PEC) do not work "
                "with fractional gates: they need Clifford gates or angles outside the gates' "
                "range. Twirled read-out, decoupling and read-out mitigation work.",
                options=("fractional_gates",),
            )
        check_tags(self.tags)
        if self.adaptive is not None:
            self._check_adaptive(self.adaptive)

    def _check_adaptive(self, adaptive: AdaptiveShots) -> None:
        """Refuse what does not go with rounds."""
        if not isinstance(adaptive, AdaptiveShots):
            raise PlanError(f"Expected adaptive as AdaptiveShots, got {adaptive!r}.")
        if self.fractional_gates or self.mitigation.samples_noise:
            raise PlanError(
                "Adaptive shots do not work with fractional gates, whose angles are folded for the "
                "rows of one tile, nor with PEC and PEA, whose errors follow from random circuits "
                "and not from shots.",
                options=("adaptive",),
            )
        if self.mode == "session":
            raise PlanError(
                "A session is charged while rounds are decided on: use mode batch or job with "
                "adaptive shots.",
                options=("adaptive", "mode"),
            )
        adaptive.rounds_of(self.shots)

    @property
    def rounds(self) -> tuple[int, ...]:
        """Shots of each round; all of them in one without `adaptive`."""
        return (self.shots,) if self.adaptive is None else self.adaptive.rounds_of(self.shots)

    def of_round(self, number: int) -> PlanOptions:
        """Return the options of one round, counted from 0, by itself."""
        if self.adaptive is None:
            return self
        return replace(self, shots=self.rounds[number], adaptive=None)

    @classmethod
    def of(cls, **fields: Any) -> PlanOptions:
        """Return options from fields of this class, its parts and `AdaptiveShots` together.

        `adaptive` may be True, and is so where `rounds` or `error_rate` are given.

        Raises:
            PlanError: A value cannot be used.
            TypeError: None of the three has a field.
        """
        parts: dict[str, Any] = {}
        for name, kind in (("mitigation", Mitigation), ("limits", JobLimits)):
            own = {key: fields.pop(key) for key in [*fields] if key in kind.__annotations__}
            parts[name] = kind(**own)
        own = {key: fields.pop(key) for key in [*fields] if key in AdaptiveShots.__annotations__}
        if own and fields.get("adaptive") is False:
            raise PlanError(
                "rounds and error_rate need adaptive shots.", options=("rounds", "error_rate")
            )
        if own:
            fields["adaptive"] = AdaptiveShots(**own)
        fields["adaptive"] = AdaptiveShots.of(fields.get("adaptive") or False)
        return cls(**parts, **fields)

    def canonical_json(self) -> str:
        """Return the options as text that is equal for equal options."""
        data = asdict(self) | {"mitigation": self.mitigation.to_dict()}
        for later in fields(self):
            if later.name in _LATER and getattr(self, later.name) == later.default:
                del data[later.name]
        return json.dumps(
            data,
            sort_keys=True,
            separators=(",", ":"),
            default=lambda scalar: scalar.item(),
        )

    @classmethod
    def from_json(cls, text: str) -> PlanOptions:
        """Return the options that `canonical_json` wrote."""
        data: dict[str, Any] = json.loads(text)
        data["tags"] = tuple(data.get("tags", ()))
        if data.get("adaptive") is not None:
            data["adaptive"] = AdaptiveShots(**data["adaptive"])
        return cls(
            mitigation=Mitigation.from_dict(data.pop("mitigation")),
            limits=JobLimits(**data.pop("limits")),
            cost=CostModel(**data.pop("cost")),
            **data,
        )

    def primitive_options(self) -> dict[str, Any]:
        """Return the options of the client's primitive, nested as the client nests them."""
        chosen: dict[str, Any] = {}
        environment: dict[str, Any] = {"private": True} if self.private else {}
        environment |= {"job_tags": list(self.tags)} if self.tags else {}
        if environment:
            chosen["environment"] = environment
        if self.rep_delay is not None:
            chosen["execution"] = {"rep_delay": float(self.rep_delay)}
        return {**chosen, **self.mitigation.client_options(self.shots)}
