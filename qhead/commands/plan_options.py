"""Options of ``plan`` and ``submit``, declared once. Imports nothing heavy."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qhead.commands.arguments import (
    EncoderChoice,
    EncoderPlace,
    LabelColumn,
    NoCache,
    Recalibrate,
    Revision,
    SkipEmpty,
    TextColumn,
)

if TYPE_CHECKING:
    from qhead.commands.plan import DeviceOptions

_TILES, _MITIGATION = "Shots and tiles", "Mitigation"


def _tiles(name: str, help: str) -> typer.models.OptionInfo:
    return typer.Option(name, help=help, rich_help_panel=_TILES, show_default=False)


def _mitigation(name: str, help: str) -> typer.models.OptionInfo:
    return typer.Option(name, help=help, rich_help_panel=_MITIGATION, show_default=False)


Split = Annotated[
    str | None,
    typer.Option("--split", help="Split where DATA has several; default: test."),
]
Shots = Annotated[int | None, _tiles("--shots", "Shots of every sentence; default: 4096.")]
Tiles = Annotated[
    str | None,
    _tiles("--tiles", "Regions of the chip used at the same time: 1, N or auto (default)."),
]
Buffer = Annotated[int | None, _tiles("--buffer", "Idle qubits between tiles: 0 or 1.")]
Spare = Annotated[
    int | None, _tiles("--spare-qubits", "Qubits of a tile beyond the circuit's, for routing.")
]
PerJob = Annotated[
    int | None,
    _tiles(
        "--executions-per-job", "Parameter sets × shots that one job may hold; default: 10 million."
    ),
]
MaxErrorRatio = Annotated[
    float | None,
    _tiles("--max-error-ratio", "auto: drop tiles this much worse than the best; default: 2."),
]
Inversion = Annotated[
    bool | None,
    _mitigation("--readout-inversion", "Measure the tiles' read-out in every job, invert it."),
]
Decoupling = Annotated[
    str | None, _mitigation("--decoupling", "Pulses on idle qubits: XX, XpXm or XY4.")
]
TwirlGates = Annotated[
    bool | None, _mitigation("--twirl-gates", "Randomise two-qubit gates with Paulis.")
]
TwirlMeasure = Annotated[
    bool | None, _mitigation("--twirl-measure", "Randomise read-out with bit flips.")
]
Randomizations = Annotated[
    int | None, _mitigation("--randomizations", "Number of randomized circuits when twirling.")
]
Zne = Annotated[
    str | None, _mitigation("--zne", "Noise factors of zero-noise extrapolation by a line: 1,3,5.")
]
Resilience = Annotated[
    bool | None, _mitigation("--resilience", "The estimator's own read-out mitigation.")
]


#: Options of ``plan`` and ``submit``, declared once: name → type and help.
PLAN_OPTIONS: dict[str, Any] = {
    "shots": Shots,
    "tiles": Tiles,
    "buffer": Buffer,
    "spare_qubits": Spare,
    "max_error_ratio": MaxErrorRatio,
    "executions_per_job": PerJob,
    "readout_inversion": Inversion,
    "decoupling": Decoupling,
    "twirl_gates": TwirlGates,
    "twirl_measure": TwirlMeasure,
    "randomizations": Randomizations,
    "zne": Zne,
    "resilience": Resilience,
    "recalibrate": Recalibrate,
    "split": Split,
    "text_column": TextColumn,
    "label_column": LabelColumn,
    "skip_empty": SkipEmpty,
    "encoder": EncoderPlace,
    "revision": Revision,
    "no_cache": NoCache,
}


def with_plan_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `PLAN_OPTIONS` to a verb that takes ``**options``."""
    signature = inspect.signature(verb, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    added = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if name in ("skip_empty", "no_cache") else None,
            annotation=hint,
        )
        for name, hint in PLAN_OPTIONS.items()
    ]
    verb.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    return verb


#: Options that may stand beside the file of a plan.
BESIDE_A_PLAN = ("text_column", "label_column", "no_cache")
#: Options that `hardware.planning.mitigation.Mitigation` calls otherwise.
_OTHER_NAMES = {
    "decoupling": "dynamical_decoupling",
    "randomizations": "num_randomizations",
    "resilience": "measure_mitigation",
}


def device_options(target: str, seed: int, options: dict[str, Any]) -> DeviceOptions:
    """Return the options that were given; plan and mitigation know their own defaults."""
    from hardware.planning.options import JobLimits
    from qhead.commands.plan import DeviceOptions, parse_buffer, parse_factors

    given = {name: value for name, value in options.items() if value is not None}
    of_data = {name: given.pop(name, None) for name in ("text_column", "label_column")}
    encoder = EncoderChoice(
        given.pop("encoder", None), given.pop("revision", None), not given.pop("no_cache")
    )
    direct = ("shots", "tiles", "split", "recalibrate", "skip_empty")
    directly = {name: given.pop(name) for name in direct if name in given}
    plan: dict[str, Any] = {
        name: given.pop(name) for name in ("spare_qubits", "max_error_ratio") if name in given
    }
    if "buffer" in given:
        plan["buffer"] = parse_buffer(given.pop("buffer"))
    if "executions_per_job" in given:
        plan["limits"] = JobLimits(executions=given.pop("executions_per_job"))
    if "zne" in given:
        given["zne_factors"] = parse_factors(given.pop("zne"))
    return DeviceOptions(
        target,
        columns=(of_data["text_column"], of_data["label_column"]),
        plan=plan,
        mitigation={_OTHER_NAMES.get(name, name): value for name, value in given.items()},
        seed=seed,
        encoder=encoder,
        **directly,
    )
