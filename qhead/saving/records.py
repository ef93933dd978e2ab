"""What a model folder says of a training, checked before it is believed: history, scores, data.

Each function raises a `ModelError` that names the file and the field for anything that this
version does not write.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    NonNegativeInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from qhead.errors import ModelError
from qhead.evaluation import Evaluation
from qhead.saving.folder import StoredModel
from qhead.training_options import EpochRecord, Stop

_T = TypeVar("_T")
#: Nothing is converted: "1" is not a number, 1.0 not a count, NaN not a score.
_STRICT = ConfigDict(strict=True, allow_inf_nan=False, frozen=True)
_EXACT = ConfigDict(extra="forbid", **_STRICT)
_FAULTS = {
    "json_invalid": "is no JSON, or nested too deeply",
    "missing": "is missing",
    "extra_forbidden": "is not a field of this version",
    "unexpected_keyword_argument": "is not a field of this version",
}


class History(BaseModel):
    """The course of a training, as history.json has it."""

    model_config = _EXACT

    epochs: tuple[EpochRecord, ...] = ()
    best_epoch: int | None = None  # from 1
    stopped: Stop | None = None
    seconds: float | None = None

    @model_validator(mode="after")
    def _check_epochs(self) -> History:
        if [record.epoch for record in self.epochs] != list(range(1, len(self.epochs) + 1)):
            raise ValueError("has epochs that are not numbered from 1")
        if self.best_epoch is not None and not 1 <= self.best_epoch <= len(self.epochs):
            raise ValueError(f"has {len(self.epochs)} epochs, best_epoch is {self.best_epoch}")
        return self


class _Data(BaseModel):
    model_config = _STRICT

    source: str = ""
    n: NonNegativeInt = 0
    held_back: NonNegativeInt = 0
    seed: NonNegativeInt = 0
    classes: dict[str, NonNegativeInt] = {}
    fingerprint: str = ""


def _fits(scores: Evaluation) -> Evaluation:
    if {len(scores.confusion), *map(len, scores.confusion)} != {len(scores.classes)}:
        raise ValueError("has a confusion matrix that does not fit its classes")
    return scores


_Scores = dict[str, Annotated[Evaluation, AfterValidator(_fits)]]


def check_records(stored: StoredModel, folder: Path) -> History:
    """Check all that a model in `folder` says of its training, and return the course of it."""
    try:
        history = read_history(stored.history)
        read_metrics(stored.metrics)
        check_data(stored.data)
        check_versions(stored.versions)
    except ModelError as error:
        raise ModelError(f"{folder}/{error}") from error
    return history


def check_circuits(stored: StoredModel, circuits_sha256: str | None, folder: Path) -> None:
    """Refuse a model of other circuits than those that were built; old ones had no hash."""
    if stored.config.get("circuits_sha256") not in (None, circuits_sha256):
        raise ModelError(
            f"{folder}/config.json: this version of qhead builds other circuits from these options "
            "than the one that trained the model. Load it with that version (versions.json), or "
            "train again."
        )


def read_labels(labels: Any) -> np.ndarray:
    """Return the labels (K,) of a configuration with the type they had."""
    kinds: dict[str, tuple[type, type]] = {"integer": (int, np.int64), "string": (str, np.str_)}
    python_type, dtype = kinds[labels["type"]]
    if not all(type(value) is python_type for value in labels["values"]):
        raise ValueError(f"labels that are not all of type {labels['type']}")
    return np.array(labels["values"], dtype=dtype)


def read_history(record: Mapping[str, Any]) -> History:
    """Return the history of a training."""
    return _checked("history.json", TypeAdapter(History), record)


def read_metrics(record: Mapping[str, Any]) -> dict[str, Evaluation]:
    """Return the scores that a model carries, by the part of the data that they are of."""
    return _checked("metrics.json", TypeAdapter(_Scores, config=_EXACT), record)


def check_data(record: Mapping[str, Any]) -> None:
    """Check what a model says of its training data."""
    _checked("data.json", TypeAdapter(_Data), record)


def check_versions(record: Mapping[str, Any]) -> None:
    """Check the versions that made a model."""
    _checked("versions.json", TypeAdapter(dict[str, str], config=_STRICT), record)


def _checked(file: str, form: TypeAdapter[_T], record: Mapping[str, Any]) -> _T:
    try:
        # As JSON, in which the lists of a file and the tuples of `asdict` are one.
        return form.validate_json(json.dumps(record, default=repr))
    except ValidationError as error:
        first = error.errors()[0]
    except RecursionError as error:
        raise ModelError(f"{file}: the content is nested too deeply.") from error
    field = ".".join(map(str, first["loc"])) or "the content"
    fault = _FAULTS.get(first["type"], first["msg"]).removeprefix("Value error, ")
    if fault.startswith("Input"):
        fault = f"{fault.removeprefix('Input ')}, got {first['input']!r:.60}"
    raise ModelError(
        f"{file}: {field} {fault}. Restore the folder from a copy, or train and save again."
    )
