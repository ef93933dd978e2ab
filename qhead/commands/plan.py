"""``qhead plan``: tiles, PUBs, jobs and QPU seconds of a model's predictions. Sends nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from hardware.checks import check_shots
from hardware.devices.base import Device
from hardware.devices.named import parse_device
from hardware.errors import InvalidInputError, PlanError
from hardware.planning.mitigation import Mitigation
from hardware.planning.options import PlanOptions
from hardware.planning.plan import JobPlan
from hardware.runs.planned import with_shots
from hardware.runs.quote import Quote
from qhead.classifier import TextClassifier
from qhead.commands.arguments import EncoderChoice
from qhead.commands.common import open_model, show
from qhead.commands.costs import cost_table, plan_dict, tile_table
from qhead.errors import InputError
from qhead.files import check_new
from qhead.runs.metadata import RunMetadata, SavedModel, SentenceSource
from qhead.runs.plan_files import save_plan, write_bytes
from qhead.runs.planning import plan_rows
from qhead.runs.sentences import Sentences, read_sentences, read_validation

#: Formats of a picture of the chip.
PICTURES = ("png", "svg")
#: Digits of a number of tiles.
MAX_DIGITS = 9


@dataclass(frozen=True)
class DeviceOptions:
    """Options of the command line; None where one was not given.

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

    def plan_options(self) -> PlanOptions:
        """Return the options of the plan.

        Raises:
            InvalidInputError: Something in them cannot be used, or shots are given twice.
        """
        named = parse_device(self.target)
        given: dict[str, Any] = {"tiles": parse_tiles(self.tiles), "seed": self.seed, **self.plan}
        if self.shots is not None:
            given["shots"] = check_shots(self.shots, where=" in --shots")
            if named.shots not in (None, self.shots):
                raise InvalidInputError(
                    f"Expected shots once, got {named.shots} in the target and {self.shots} in "
                    "--shots."
                )
        return with_shots(PlanOptions(mitigation=Mitigation(**self.mitigation), **given), named)


def make_plan(
    folder: Path,
    source: str,
    asked: DeviceOptions,
    *,
    texts: Sequence[str] | None = None,
    model: TextClassifier | None = None,
) -> tuple[JobPlan, Device]:
    """Plan what a command line asks for, everything in it checked first; nothing is sent.

    Args:
        texts: The sentences of `source`, where they have been read already.
        model: The model of the folder, where it has been opened already.

    Raises:
        InvalidInputError, InputError: Something in it cannot be used.
        HardwareError: As `qhead.runs.planning.plan_rows`.
    """
    named, options = parse_device(asked.target), asked.plan_options()
    if texts is None:
        SavedModel.of(folder)  # a missing model is reported before sentences are read
        sentences = read_sentences(source, asked.split, asked.columns, asked.skip_empty)
    else:
        column = asked.columns[0]
        place = SentenceSource.of(texts, source, asked.split, column, asked.skip_empty)
        sentences = Sentences(tuple(texts), place)
    again = None
    if asked.recalibrate is not None:
        again = read_validation(asked.recalibrate, asked.columns, asked.skip_empty)
    model = model or open_model(folder, asked.encoder)
    return plan_rows(model.device_rows(sentences, again), named, options)


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


def drawn(plan: JobPlan, device: Device, kind: str) -> bytes:
    """Return the picture of the chip with the plan's tiles."""
    from hardware.planning.drawing import draw_plan

    buffer = BytesIO()
    draw_plan(plan, device.backend).savefig(buffer, format=kind, dpi=120)
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
    plan, device = make_plan(folder, source, asked)
    if out is not None:
        save_plan(plan, out)
    if picture is not None and kind is not None:
        write_bytes(picture, drawn(plan, device, kind))
    quote, metadata = Quote.of(plan, device), RunMetadata.of(plan, "the plan")
    notes = [f"· {note}" for note in plan.notes]
    if out is not None:
        budget = "" if quote.local else f" --budget {quote.advised_budget}"
        notes.append(f"plan: {out}; send it with qhead submit --plan {out}{budget}")
    files = {"plan": out and str(out), "picture": picture and str(picture)}
    show(
        plan_dict(quote, metadata) | files,
        tile_table(plan),
        cost_table(quote, metadata),
        *notes,
        json=json,
    )
