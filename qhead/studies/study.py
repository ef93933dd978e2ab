"""The record of a study: its tables, its trials and what they rest on, kept in a folder.

A study is a function from frozen options to such a record. `write_study` keeps it as ``study.json``
and draws its page; `read_study` checks what it reads, field by field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from hardware.checks import is_number, is_whole
from hardware.words import counted
from qhead.classifier import TextClassifier
from qhead.data import LabelledTexts
from qhead.errors import InputError
from qhead.files import atomic_file
from qhead.provenance import current_versions
from qhead.studies.sample import RECORDED, Row, Sample, Trial, bounded_mean

RECORD, PAGE = "study.json", "report.html"
_VERSION = 1
#: The fact by which a study is known to be a model's.
_WEIGHTS = "fingerprint of the weights"


@dataclass(frozen=True)
class Table:
    """Rows of one kind and what follows from them.

    Args:
        title: Heading.
        text: What was done, in sentences.
        form: ``"steps"``, one row on top of the other, or ``"curve"``, rows by their `setting`.
        rows: In order.
        axis: What the setting of a curve is.
        finding: What the rows say, in a sentence.
        knee: Setting of a curve at its knee; None where there is none.
        marks: Settings that are marked in the curve, by name.
        others: Rows of a second curve beside it.
        others_name: What they are.
    """

    __pydantic_config__ = RECORDED

    title: str
    text: str
    form: Literal["steps", "curve"]
    rows: tuple[Row, ...]
    axis: str = ""
    finding: str = ""
    knee: float | None = None
    marks: dict[str, float] = field(default_factory=dict)
    others: tuple[Row, ...] = ()
    others_name: str = ""

    def __post_init__(self) -> None:
        every = (*self.rows, *self.others)
        if self.form == "curve" and any(row.setting is None for row in every):
            raise ValueError("a row of a curve has no setting")
        if any(row.shots is None for row in self.others):
            raise ValueError("a row of a second curve has no shots")


@dataclass(frozen=True)
class Study:
    """What a study found.

    Args:
        kind: Its name on the command line.
        facts: What was studied, by name, in words.
        options: The options, JSON-able.
        accuracy: Accuracy of the exact head on the sentences, and its half width at 95 %.
        tables: The tables.
        trials: Every setting with every seed.
        notes: What the numbers do not tell.
        version: Of this record.
    """

    __pydantic_config__ = RECORDED

    kind: str
    facts: dict[str, str]
    options: dict[str, Any]
    accuracy: tuple[float, float]
    tables: tuple[Table, ...]
    trials: tuple[Trial, ...]
    notes: tuple[str, ...] = ()
    version: int = _VERSION

    def as_dict(self) -> dict[str, Any]:
        """Return the record, JSON-able."""
        return asdict(self)


_ADAPTER = TypeAdapter(Study)


def write_record(study: Study, folder: Path) -> Path:
    """Write the record of a study into a folder and return its file."""
    path = folder / RECORD
    with atomic_file(path) as file:
        file.write(json.dumps(study.as_dict(), indent=1, allow_nan=False) + "\n")
    return path


def is_study(folder: Path) -> bool:
    """Return whether a folder holds the record of a study."""
    return (folder / RECORD).is_file()


def read_study(folder: Path) -> Study:
    """Return the study of a folder.

    Raises:
        InputError: The record cannot be read, is damaged, or is of another version.
    """
    path = folder / RECORD
    try:
        text = path.read_text(encoding="utf-8")
        version = _version(json.loads(text))
        if version != _VERSION:
            raise InputError(
                f"{path} is of version {version}, and this qhead reads {_VERSION}: run the study "
                "again."
            )
        return _ADAPTER.validate_json(text, strict=True)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the record"
        raise InputError(f"{path} is damaged: {where}: {first['msg']}.") from error
    except (ValueError, RecursionError) as error:  # no JSON, or no UTF-8
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged: it is not JSON.") from error


def _version(content: Any) -> Any:
    return content.get("version") if isinstance(content, Mapping) else None


def studies_of(model: TextClassifier, folders: Sequence[str]) -> list[Study]:
    """Return the studies of a saved model from their folders.

    Raises:
        InputError: One cannot be read, or is of another model.
    """
    found = [read_study(Path(folder.strip())) for folder in folders]
    for folder, study in zip(folders, found, strict=True):
        if study.facts.get(_WEIGHTS) != _weights(model):
            raise InputError(
                f"{folder} is a study of another model, or of this one before it was trained "
                "again: run the study again."
            )
    return found


def _weights(model: TextClassifier) -> str | None:
    """Return the fingerprint of a saved model's weights; None of one that is not saved."""
    return None if model.saved_ is None else str(model.saved_.weights)


def knee(rows: Sequence[Row], max_loss: float) -> float | None:
    """Return the most harmful setting that is still good enough; None if none is.

    Good enough: the interval of the accuracy difference to the exact head, there and at every less
    harmful setting, includes no loss above `max_loss`.

    Args:
        rows: Settings, from the least to the most harmful.
        max_loss: Largest loss, as a share.
    """
    found = None
    for row in rows:
        if row.difference - row.difference_half_width < -max_loss:
            break
        found = row.setting
    return found


def no_knee(max_loss: float, num_sentences: int) -> str:
    """Say that no setting is good enough, and whether more sentences could tell."""
    text = f"At none of these settings does the interval rule out a loss of {points(max_loss)}."
    narrowest = bounded_mean(np.zeros(num_sentences), -1.0)[1]
    if narrowest > max_loss:
        text += (
            f" With {counted(num_sentences, 'sentence')} it is never narrower than "
            f"± {points(narrowest)}: take more sentences, or a larger loss to rule out."
        )
    return text


def points(share: float) -> str:
    """Return a share as points of accuracy."""
    return f"{100 * share:.2g} points"


def check_options(
    *, sentences: int, trials: int, max_loss: float, series: Mapping[str, Sequence[float]]
) -> None:
    """Refuse options of a study that cannot be used.

    Args:
        sentences, trials, max_loss: As the studies declare them.
        series: Settings of curves, by the option's name.

    Raises:
        InputError: A number is out of its range, or a series is empty or repeats a setting.
    """
    for name, number in (("sentences", sentences), ("trials", trials)):
        if not is_whole(number) or number < 1:
            message = f"Expected {name!r} to be a whole number of one or more, got {number!r}."
            raise InputError(message, options=[name])
    if not (is_number(max_loss) and 0 < max_loss < 1):
        message = f"Expected 'max_loss' between 0 and 1, got {max_loss!r}."
        raise InputError(message, options=["max_loss"])
    for name, settings in series.items():
        if not settings or len(set(settings)) < len(settings):
            message = f"Expected {name!r} to be different numbers, at least one, got {settings!r}."
            raise InputError(message, options=[name])


def facts_of(
    model: TextClassifier, name: str, data: LabelledTexts, sample: Sample, seed: int
) -> dict[str, str]:
    """Return what a study was made of, in words."""
    circuit = sample.workload.circuit
    others = sample.workload.num_samples - sample.num_scored
    weights = _weights(model)
    facts = {
        "model": name,
        **({} if weights is None else {_WEIGHTS: weights}),
        "circuit": f"{counted(circuit.num_qubits, 'qubit')}, "
        f"{counted(circuit.num_nonlocal_gates(), 'two-qubit gate')}, "
        f"{counted(sample.workload.num_observables, 'observable')}",
        "data": data.source,
        "data fingerprint": data.fingerprint,
        "sentences": f"{sample.num_scored:,} of {sample.drawn_from:,}, drawn at random",
    }
    if others:
        facts["to recalibrate"] = f"{counted(others, 'other sentence')}"
    seen = model.data_.get("fingerprint") == data.fingerprint
    if seen:
        facts["trained on"] = "these sentences: accuracies are too high, differences less so"
    return {**facts, "seed": str(seed), "versions": _versions()}


def _versions() -> str:
    return ", ".join(f"{name} {number}" for name, number in current_versions().items())
