"""Plans of a model's predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hardware.checks import check_shots
from hardware.devices.ibm.device import PlatformDevice
from hardware.devices.local import LocalDevice
from hardware.errors import InvalidInputError
from hardware.planning.options import PlanOptions
from hardware.planning.plan import JobPlan
from hardware.planning.plan_file import finished
from hardware.planning.planner import plan
from hardware.workload import Workload
from qhead.classifier import TextClassifier
from qhead.commands.arguments import EncoderChoice
from qhead.commands.common import load_split, open_model, quantum_head
from qhead.commands.devices import open_device
from qhead.commands.guard import complain
from qhead.commands.notes import About, ModelNote, Recalibration, TextsNote, fingerprint
from qhead.commands.specs import DeviceSpec
from qhead.data import load_splits, load_unlabelled
from qhead.data.texts import shown
from qhead.errors import DataError
from qhead.progress import counting_bar, waiting
from qhead.simulator import ExactTarget


@dataclass(frozen=True)
class Sentences:
    """Sentences to predict, and how they are to be found again."""

    texts: tuple[str, ...]
    note: TextsNote


def read_sentences(
    source: str,
    split: str | None,
    columns: tuple[str | None, str | None],
    skip_empty: bool = False,
) -> Sentences:
    """Read sentences, labels or not: a file, ``-``, a folder of splits, a Hub data set.

    Raises:
        DataError: As the loaders of `qhead.data`.
    """
    plain = source == "-" or source.startswith("demo:") or Path(source).is_file()
    if split is None and plain:
        texts = load_unlabelled(source, text_column=columns[0], skip_empty=skip_empty)
    else:
        texts = load_split(source, split, columns, skip_empty=skip_empty).texts
    return Sentences(texts, TextsNote.of(texts, source, split, columns[0], skip_empty))


def read_noted(note: TextsNote, place: str | None = None) -> tuple[str, ...]:
    """Read the sentences of a note again, from where they were or from another place."""
    source = place or note.source
    return read_sentences(source, note.split, (note.text_column, None), note.skip_empty).texts


def read_validation(
    source: str, columns: tuple[str | None, str | None], skip_empty: bool = False
) -> Sentences:
    """Read the sentences to recalibrate on: the split ``validation``, or all of a single file."""
    if Path(source).is_file() or source.startswith("demo:"):
        return read_sentences(source, None, columns, skip_empty)
    splits = load_splits(
        source, text_column=columns[0], label_column=columns[1], skip_empty=skip_empty
    )
    name = "validation" if "validation" in splits or len(splits) > 1 else next(iter(splits))
    if name not in splits:
        raise DataError(
            f"{source}: expected a split 'validation' to recalibrate on, got {shown(splits)}. "
            "Name a file of validation sentences."
        )
    return read_sentences(source, name, columns, skip_empty)


@dataclass(frozen=True)
class PlanRequest:
    """What is to be planned, and where.

    Args:
        folder: The model.
        sentences: What to predict.
        spec: The device.
        options: How to spread it.
        recalibrate: Sentences to refit the read-out on, run along with the others.
        encoder: How the model's sentence encoder is opened.
    """

    folder: Path
    sentences: Sentences
    spec: DeviceSpec
    options: PlanOptions
    recalibrate: Sentences | None = None
    encoder: EncoderChoice = field(default_factory=EncoderChoice)


def make_plan(
    request: PlanRequest, model: TextClassifier | None = None
) -> tuple[JobPlan, LocalDevice | PlatformDevice, TextClassifier]:
    """Plan a model's predictions; nothing is sent.

    Args:
        request: What and where.
        model: The model of the request's folder, where it has been opened already.

    Returns:
        The plan, its device and the model.

    Raises:
        HeadError: The head runs no circuit.
        AccountError, ServiceError: The platform cannot be asked for its calibration.
        PlanError: The circuit does not fit on the device as asked.
    """
    if model is None:
        model = open_model(request.folder, request.encoder)
    note = ModelNote.of(request.folder)
    workload, recalibration = _workload(model, request)
    with waiting(f"looking up {request.spec.name}"):
        device = open_device(request.spec, workload)
    name = request.spec.name if request.spec.local else device.name
    with waiting(f"planning {workload.num_samples:,} rows on {name}"):
        made = plan(
            workload,
            device.backend,
            request.options,
            target=request.spec.canonical(name, request.options.shots),
        )
    about = About(note, request.sentences.note, recalibration)
    return finished(replace(made, about=about.as_dict())), device, model


def _workload(model: TextClassifier, request: PlanRequest) -> tuple[Workload, Recalibration | None]:
    head = quantum_head(model)
    texts = request.sentences.texts
    again = request.recalibrate
    if again is not None:
        if len(again.texts) < 3:
            raise DataError(
                f"{again.note.source}: expected at least three sentences to recalibrate on, got "
                f"{len(again.texts)}."
            )
        texts = (*texts, *again.texts)
    with counting_bar("embedding") as bar:
        embeddings = model.embed(texts, progress=lambda done, total: bar(done, total))
    workload: Workload = head.workload(embeddings)
    if again is None:
        return workload, None
    rows = workload.rows(slice(len(request.sentences.texts), None))
    exact = ExactTarget().run(rows).values  # (R, M)
    return workload, Recalibration(again.note, tuple(map(tuple, exact.tolist())))


def texts_of(about: About, source: str | None) -> tuple[str, ...] | None:
    """Return the sentences of a run, or None, with a warning, where they are not there any more.

    Args:
        about: What the run remembers of them.
        source: Where they are now, if the user says so.

    Raises:
        DataError: The user's source holds others.
    """
    note = about.data
    place = source or note.source
    if place == "-":
        return None
    try:
        texts = read_noted(note, place)
    except DataError as error:
        if source is not None:
            raise
        complain("Warning", f"{error} The rows are given by their numbers.")
        return None
    if fingerprint(texts) == note.fingerprint:
        return texts
    message = (
        f"Expected the {note.num_rows} sentences of the run in {place}, got {len(texts)} that are "
        "others or in another order. --data names where they are."
    )
    if source is not None:
        raise DataError(message)
    complain("Warning", f"{message} The rows are given by their numbers.")
    return None


def options_from(spec: DeviceSpec, shots: int | None, options: Mapping[str, Any]) -> PlanOptions:
    """Return plan options with the shots of the specification or of the option.

    Raises:
        InvalidInputError: Shots below one, or both are given and differ.
    """
    for given_shots, where in ((shots, " in --shots"), (spec.shots, " in the target")):
        if given_shots is not None:
            check_shots(given_shots, where=where)
    if shots is not None and spec.shots is not None and shots != spec.shots:
        raise InvalidInputError(
            f"Expected shots once, got {spec.shots} in the target and {shots} in --shots."
        )
    chosen = shots if shots is not None else spec.shots
    given = dict(options) if chosen is None else {**options, "shots": chosen}
    return PlanOptions(**given)
