"""``qhead plan``: tiles, PUBs, jobs and QPU seconds of a model's predictions. Sends nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from hardware.devices.ibm.device import PlatformDevice
from hardware.devices.local import LocalDevice
from hardware.errors import PlanError
from hardware.ledger.budget import advised_budget
from hardware.planning.options import Mitigation
from hardware.planning.plan import JobPlan
from hardware.planning.plan_file import dump_plan
from qhead.commands.arguments import EncoderChoice
from qhead.commands.common import console, print_json
from qhead.commands.costs import cost_table, past_charges, plan_dict, tile_table
from qhead.commands.devices import remaining_seconds
from qhead.commands.notes import About, ModelNote, TextsNote
from qhead.commands.plan_files import write_bytes
from qhead.commands.planned import (
    PlanRequest,
    Sentences,
    make_plan,
    options_from,
    read_sentences,
    read_validation,
)
from qhead.commands.specs import parse_device
from qhead.commands.tables import show_table
from qhead.errors import InputError
from qhead.files import check_new

#: Formats of a picture of the chip.
PICTURES = ("png", "svg")
#: Digits of a number of tiles.
MAX_DIGITS = 9


@dataclass(frozen=True)
class DeviceOptions:
    """What was asked for on the command line; None where it was not.

    Args:
        target: The device.
        shots: Shots of every row.
        tiles: ``"1"``, a number, or ``"auto"``.
        split: Split of the data.
        columns: Columns of text and label.
        recalibrate: Sentences to refit the read-out on.
        plan: Options of `PlanOptions` that were given.
        mitigation: Options of `Mitigation` that were given.
        seed: Seed of fake devices.
        skip_empty: Leave empty texts out.
        encoder: How the model's sentence encoder is opened.
    """

    target: str
    shots: int | None = None
    tiles: str = "auto"
    split: str | None = None
    columns: tuple[str | None, str | None] = (None, None)
    recalibrate: str | None = None
    plan: dict[str, Any] = field(default_factory=dict)
    mitigation: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    skip_empty: bool = False
    encoder: EncoderChoice = field(default_factory=EncoderChoice)


def request_of(
    folder: Path, source: str, asked: DeviceOptions, *, texts: Sequence[str] | None = None
) -> PlanRequest:
    """Return the request of a command line, everything in it checked and read.

    Args:
        texts: The sentences of `source`, where they have been read already.

    Raises:
        InvalidInputError, InputError: Something in it cannot be used.
    """
    spec = parse_device(asked.target)
    options = options_from(
        spec,
        asked.shots,
        {
            "tiles": parse_tiles(asked.tiles),
            "seed": asked.seed,
            "mitigation": Mitigation(**asked.mitigation),
            **asked.plan,
        },
    )
    again = asked.recalibrate
    if texts is None:
        ModelNote.of(folder)  # a missing model is reported before sentences are read
        sentences = read_sentences(source, asked.split, asked.columns, asked.skip_empty)
    else:
        note = TextsNote.of(texts, source, asked.split, asked.columns[0], asked.skip_empty)
        sentences = Sentences(tuple(texts), note)
    return PlanRequest(
        folder=folder,
        sentences=sentences,
        spec=spec,
        options=options,
        recalibrate=None
        if again is None
        else read_validation(again, asked.columns, asked.skip_empty),
        encoder=asked.encoder,
    )


def parse_tiles(text: str) -> int | None:
    """Return the number of tiles, None for ``auto``.

    Raises:
        PlanError: It is neither.
    """
    if text == "auto":
        return None
    # No chip has room for more; and Python reads no number of thousands of digits.
    if not text.isdecimal() or len(text) > MAX_DIGITS or int(text) < 1:
        raise PlanError(f"Expected --tiles 'auto' or a number of one or more, got {text[:40]!r}.")
    return int(text)


def parse_buffer(number: int) -> bool:
    """Return whether there is a buffer of idle qubits between tiles.

    Raises:
        PlanError: More than one qubit.
    """
    if number not in (0, 1):
        raise PlanError(f"Expected --buffer 0 or 1, got {number}.")
    return bool(number)


def parse_factors(text: str) -> tuple[float, ...]:
    """Return the noise factors of ``1,3,5``.

    Raises:
        PlanError: They are no numbers.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise PlanError(f"Expected --zne with factors such as 1,3,5, got {text!r}.") from None


def picture_format(path: Path) -> str:
    """Return the format of a picture by its name.

    Raises:
        InputError: It is none that can be drawn.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in PICTURES:
        raise InputError(
            f"Expected a picture ending in {' or '.join('.' + each for each in PICTURES)}, got "
            f"{path}."
        )
    return kind


def drawn(made: JobPlan, device: LocalDevice | PlatformDevice, kind: str) -> bytes:
    """Return the picture of the chip with the plan's tiles."""
    from hardware.planning.drawing import draw_plan

    buffer = BytesIO()
    draw_plan(made, device.backend).savefig(buffer, format=kind, dpi=120)
    return buffer.getvalue()


def run(
    folder: Path,
    source: str,
    asked: DeviceOptions,
    *,
    out: Path | None,
    picture: Path | None,
    force: bool,
    json: bool,
) -> None:
    """Plan, print, and keep the plan and its picture where the user says."""
    check_new(out, force=force)
    check_new(picture, force=force)
    kind = None if picture is None else picture_format(picture)
    made, device, _ = make_plan(request_of(folder, source, asked))
    about = About.of(made, "the plan")
    if out is not None:
        write_bytes(out, dump_plan(made))
    if picture is not None and kind is not None:
        write_bytes(picture, drawn(made, device, kind))
    remaining, ratio, local = remaining_seconds(device), past_charges(device), device.local
    if json:
        told = plan_dict(made, about, remaining, local=local, ratio=ratio)
        print_json(told | {"plan": out and str(out), "picture": picture and str(picture)})
        return
    screen = console()
    show_table(screen, tile_table(made))
    show_table(screen, cost_table(made, about, remaining, local=local, ratio=ratio))
    for note in made.notes:
        screen.print(f"· {note}")
    if out is not None:
        advised = advised_budget(made.cost.qpu_seconds, ratio)
        budget = "" if local else f" --budget {advised}"
        screen.print(f"plan: {out}; send it with qhead submit --plan {out}{budget}")
