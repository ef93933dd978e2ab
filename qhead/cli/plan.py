"""``qhead plan``: tiles, PUBs, jobs and QPU seconds of a model's predictions. Sends nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qhead.cli.generated import PLAN_OPTIONS
from qhead.cli.options import (
    DEVICES,
    AccountChoice,
    Adaptive,
    Columns,
    Data,
    Json,
    Model,
    Recalibrate,
    SavedEncoder,
    Seed,
    Split,
    Tiles,
    choice,
)

if TYPE_CHECKING:
    from rich.table import Table

    from hardware.circuits.adaptive import AdaptiveShots
    from hardware.devices.base import Device
    from hardware.devices.named import NamedDevice
    from hardware.planning.plan import JobPlan
    from hardware.runs.quote import Quote
    from qhead.runs.metadata import RunMetadata

#: Formats of a picture of the chip.
PICTURES = ("png", "svg")
#: Digits of a number of tiles.
MAX_DIGITS = 9

PlanOptions = Annotated[dict[str, Any], PLAN_OPTIONS]


def plan(
    model: Model,
    data: Data,
    target: Annotated[str, typer.Option("--target", help=DEVICES)],
    columns: Columns,
    encoder: SavedEncoder,
    options: PlanOptions,
    account: AccountChoice,
    out: Annotated[Path | None, choice("--out", "File to keep the plan in, for submit.")] = None,
    picture: Annotated[
        Path | None, choice("--picture", "File for a picture of the chip: .png or .svg.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite --out and --picture if they exist.")
    ] = False,
    tiles: Tiles = None,
    adaptive: Adaptive = False,
    recalibrate: Recalibrate = None,
    split: Split = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Make no network call: plan by the cached calibration."),
    ] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Show what a run on a device would take: tiles, PUBs, jobs, QPU seconds. Sends nothing."""
    from hardware.devices.named import parse_device
    from hardware.runs.quote import Quote
    from qhead.cli.show import show, table
    from qhead.files import check_new
    from qhead.runs.metadata import RunMetadata
    from qhead.runs.plan_files import save_plan, write_bytes

    check_new(out, force=force)
    check_new(picture, force=force)
    kind = None if picture is None else _picture_format(picture)
    made, device = make_plan(
        model, data, parse_device(target, account.open(), offline=offline),
        columns, encoder, options,
        tiles=tiles, adaptive=adaptive, recalibrate=recalibrate, split=split, seed=seed,
        fallback=True,
    )  # fmt: skip
    if out is not None:
        save_plan(made, out)
    if picture is not None and kind is not None:
        write_bytes(picture, _drawn(made, device, kind))
    quote, metadata = Quote.of(made, device), RunMetadata.of(made, "the plan")
    notes = [f"· {note}" for note in quote.notes]
    if out is not None:
        budget = "" if quote.local else f" --budget {quote.advised_budget}"
        notes.append(f"plan: {out}; send it with qhead submit --plan {out}{budget}")
    regions = table(f"tiles on {made.backend}", [], ["tile"])
    regions.add_column("qubits")
    regions.add_column("expected error", justify="right")
    for index, tile in enumerate(made.tiles):
        error = "unknown" if tile.expected_error is None else f"{tile.expected_error:.1%}"
        regions.add_row(str(index), " ".join(map(str, tile.qubits)), error)
    files = {"plan": out and str(out), "picture": picture and str(picture)}
    show(
        {**quote.as_dict(), **metadata.record(), **files},
        regions,
        *([_rounds_table(made, made.options.adaptive)] if made.options.adaptive else []),
        _cost_table(quote, metadata),
        *notes,
        json=json,
    )


def make_plan(
    folder: Path,
    source: str,
    named: NamedDevice,
    columns: Columns,
    encoder: SavedEncoder,
    given: dict[str, Any],
    *,
    tiles: str | None,
    adaptive: bool,
    recalibrate: str | None,
    split: str | None,
    seed: int,
    fallback: bool = False,
) -> tuple[JobPlan, Device]:
    """Plan what the command line says, everything in it checked first; nothing is sent.

    Args:
        fallback: Plan by the cached calibration where the platform cannot be reached.

    Raises:
        InvalidInputError, InputError: Something in it cannot be used.
        HardwareError: As `qhead.runs.planning.plan_rows`.
    """
    from hardware.checks import check_shots
    from hardware.errors import InvalidInputError
    from hardware.planning.options import PlanOptions
    from hardware.runs.planned import with_shots
    from qhead.runs.metadata import SavedModel
    from qhead.runs.planning import plan_rows
    from qhead.runs.sentences import read_sentences, read_validation

    if "shots" in given:
        check_shots(given["shots"], where=" in --shots")
        if named.shots not in (None, given["shots"]):
            raise InvalidInputError(
                f"The shots are given twice: {named.shots} in the target and {given['shots']} in "
                "--shots. Leave one of them out."
            )
    rounds = {"adaptive": True} if adaptive else {}
    chosen = PlanOptions.of(tiles=parse_tiles(tiles), seed=seed, **rounds, **given)
    options = with_shots(chosen, named)
    SavedModel.of(folder)  # a missing model is reported before sentences are read
    sentences = read_sentences(source, split, columns.names, columns.skip_empty)
    again = None
    if recalibrate is not None:
        again = read_validation(recalibrate, columns.names, columns.skip_empty)
    return plan_rows(
        encoder.model(folder).device_rows(sentences, again), named, options, fallback=fallback
    )


def parse_tiles(text: str | None) -> int | None:
    """Return the number of tiles, None for ``auto``.

    Raises:
        PlanError: It is neither.
    """
    from hardware.errors import PlanError

    if text is None or text == "auto":
        return None
    # No chip has room for more; and Python reads no number of thousands of digits.
    if not text.isdecimal() or len(text) > MAX_DIGITS or int(text) < 1:
        raise PlanError(f"Expected --tiles 'auto' or a number of one or more, got {text[:40]!r}.")
    return int(text)


def _picture_format(path: Path) -> str:
    """Return the format of a picture by its name.

    Raises:
        InputError: It is none that can be drawn.
    """
    from qhead.errors import InputError

    kind = path.suffix.lower().removeprefix(".")
    if kind not in PICTURES:
        raise InputError(
            f"Expected a picture ending in {' or '.join('.' + each for each in PICTURES)}, got "
            f"{path}."
        )
    return kind


def _drawn(plan: JobPlan, device: Device, kind: str) -> bytes:
    """Return the picture of the chip with the plan's tiles."""
    from io import BytesIO

    from hardware.planning.drawing import draw_plan

    buffer = BytesIO()
    draw_plan(plan, device.backend).savefig(buffer, format=kind, dpi=120)
    return buffer.getvalue()


def _rounds_table(plan: JobPlan, adaptive: AdaptiveShots) -> Table:
    """Return the rounds of adaptive shots with the sentences and QPU seconds of each."""
    from qhead.cli.show import table

    columns = ["shots", "sentences expected", "at most", "QPU s expected", "at most"]
    made = table(f"rounds, error rate {adaptive.error_rate:g}", ["round"], columns)
    for number, each in enumerate(plan.rounds, start=1):
        made.add_row(
            str(number), f"{each.shots:,}",
            "unknown" if each.rows is None else f"{each.rows:,.0f}", f"{plan.num_rows:,}",
            "unknown" if each.seconds is None else f"{each.seconds:.1f}",
            f"{each.most.qpu_seconds:.1f}",
        )  # fmt: skip
    return made


def _cost_table(quote: Quote, metadata: RunMetadata) -> Table:
    """Return the plan in numbers."""
    from hardware.words import size
    from qhead.cli.show import table

    plan, cost = quote.plan, quote.plan.cost
    made = table(f"plan for {plan.target}", [""], [""], show_header=False)
    rows = {"sentences": f"{metadata.data.num_rows:,}"}
    if metadata.recalibration is not None:
        rows["sentences to recalibrate on"] = f"{metadata.recalibration.texts.num_rows:,}"
    most = ", at most" if plan.rounds else ""
    rows |= {
        f"shots of each{most}": f"{plan.shots:,}",
        "tiles": str(cost.tiles),
        "slots filled by a repeated row": str(plan.padding),
        f"PUBs{most}": str(cost.pubs),
        f"program items, each loaded once{most}": str(cost.items),
        f"jobs{most}": str(cost.jobs),
        f"executions{most}": f"{cost.executions:,}",
        f"payload{most}": size(cost.payload_bytes),
        f"QPU seconds, estimated{most}": f"{cost.qpu_seconds:.1f}",
    }
    if plan.expected_seconds is not None:
        rows["QPU seconds, expected"] = f"{plan.expected_seconds:.1f}"
    if quote.ratio is not None:
        rows["QPU seconds, by past charges"] = f"{quote.refitted_seconds:.1f}"
        rows[f"{plan.backend} has charged"] = str(quote.ratio)
    elif not quote.local:
        rows["QPU seconds, by past charges"] = "unknown: no finished job"
    if quote.remaining is not None:
        rows["of what the account has left"] = (
            f"{100 * cost.share_of(quote.remaining):.1f} % of {quote.remaining:g} s"
        )
    for name, value in rows.items():
        made.add_row(name, value)
    return made
