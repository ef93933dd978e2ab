"""What a plan of a model's predictions carries, so that its results become labels again.

A plan knows circuits and numbers. `JobPlan.about` holds the model's linear read-out and classes,
fingerprints of the sentences and of the model, and where the user said they are. No sentence is
stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardware.errors import PlanError
from hardware.planning.plan import JobPlan
from qhead.errors import ModelError

FORMAT = "qhead-run"
#: Version 1 carried no read-out: its runs need their model's folder to become labels.
FORMAT_VERSION = 2


@dataclass(frozen=True)
class SavedModel:
    """A saved model: where it was, and SHA-256 of the files that decide its predictions."""

    path: str
    weights: str
    config: str

    @classmethod
    def of(cls, folder: Path) -> SavedModel:
        """Return the note of a model folder.

        Raises:
            ModelError: It cannot be read.
        """
        try:
            parts = [(folder / name).read_bytes() for name in ("head.safetensors", "config.json")]
        except OSError as error:
            raise ModelError(
                f"Expected a model folder at {folder}, got: {error.strerror or error}. If the "
                "model was moved, name its folder."
            ) from error
        found = (hashlib.sha256(part).hexdigest() for part in parts)
        return cls(str(folder.absolute()), *found)

    def check(self, now: SavedModel) -> None:
        """Raise a `ModelError` unless another saved model is this very one."""
        changed = [
            name
            for name, same in (
                ("weights (head.safetensors)", now.weights == self.weights),
                ("configuration (config.json)", now.config == self.config),
            )
            if not same
        ]
        if changed:
            raise ModelError(
                f"Expected the model that the plan was made for, got another in {now.path}: its "
                f"{' and '.join(changed)} changed since. Bring the old model back, or plan again "
                "with the new one."
            )


@dataclass(frozen=True)
class SentenceSource:
    """Sentences: where they came from, how many they are, and SHA-256 of them in their order."""

    source: str | None  # None: given in Python
    split: str | None
    text_column: str | None
    num_rows: int
    fingerprint: str
    skip_empty: bool = False  # empty texts were left out

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        source: str | None = None,
        split: str | None = None,
        text_column: str | None = None,
        skip_empty: bool = False,
    ) -> SentenceSource:
        """Return the source of some sentences; of files and folders the place is kept in full."""
        # A run is collected from anywhere, not only from where it was sent.
        is_place = source is not None and source != "-" and Path(source).exists()
        place = str(Path(str(source)).absolute()) if is_place else source
        return cls(place, split, text_column, len(texts), fingerprint(texts), skip_empty)


@dataclass(frozen=True)
class Recalibration:
    """Sentences behind those that were asked for, and what the circuits give without noise.

    Args:
        texts: The sentences.
        exact: Noiseless expectation values of each, shape (R, M).
    """

    texts: SentenceSource
    exact: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, eq=False)
class Readout:
    """A model's linear layer behind the circuit: logits = expectations @ weight.T + bias.

    Args:
        weight: Shape (K, M).
        bias: Shape (K,).
        classes: The K labels in the order of the logits, integers or strings.
    """

    weight: np.ndarray
    bias: np.ndarray
    classes: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-able dictionary, for `of`."""
        return {name: getattr(self, name).tolist() for name in ("weight", "bias", "classes")}

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Readout:
        """Return the read-out that `as_dict` described.

        Raises:
            KeyError, ValueError, TypeError: It describes none.
        """
        weight = np.array(fields["weight"], dtype=np.float64)
        bias = np.array(fields["bias"], dtype=np.float64)
        classes = np.array(fields["classes"])
        if weight.ndim != 2 or not len(weight) == len(bias) == len(classes):
            raise ValueError("a read-out of parts that do not fit together")
        return cls(weight, bias, classes)

    def same_as(self, other: Readout) -> bool:
        """Return whether two read-outs give the same labels and probabilities."""
        return self.as_dict() == other.as_dict()


@dataclass(frozen=True, eq=False)
class RunMetadata:
    """What a plan of a model's predictions carries.

    Args:
        data: The sentences.
        readout: From expectation values to labels; None in plans of an earlier version.
        model: The saved model; None for one that was never saved.
        recalibration: Sentences run along to refit the read-out on.
    """

    data: SentenceSource
    readout: Readout | None
    model: SavedModel | None = None
    recalibration: Recalibration | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-able dictionary, for `JobPlan.about`."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "data": asdict(self.data),
            "readout": self.readout and self.readout.as_dict(),
            "model": self.model and asdict(self.model),
            "recalibration": self.recalibration and asdict(self.recalibration),
        }

    def record(self) -> dict[str, Any]:
        """Return what people and scripts want to know of it, JSON-able."""
        again = self.recalibration
        return {
            "sentences": self.data.num_rows,
            "recalibration_sentences": 0 if again is None else again.texts.num_rows,
            "model": None if self.model is None else self.model.path,
            "data": self.data.source,
        }

    def check_model(self, model: SavedModel | None, readout: Readout | None = None) -> None:
        """Refuse another model than the plan's.

        Args:
            model: A saved model, None for one that never was.
            readout: Its read-out, which decides where one of the two was not saved.

        Raises:
            ModelError: It is another.
        """
        if self.model is not None and model is not None:
            self.model.check(model)
        elif readout is not None and self.readout is not None and not readout.same_as(self.readout):
            where = "" if model is None else f" the one in {model.path}"
            raise ModelError(
                f"The run was planned with another model than{where or ' this one'}: their "
                "read-outs differ."
            )

    @classmethod
    def of(cls, plan: JobPlan, name: str) -> RunMetadata:
        """Return what a plan carries; `name` says in messages which plan it is.

        Raises:
            PlanError: It was not made for a model, or by a newer version.
        """
        fields = plan.about
        if fields.get("format") != FORMAT:
            raise PlanError(
                f"{name} is not of a model's predictions: it was not planned by qhead. Collect it "
                "with hardware.Run."
            )
        version = fields.get("version")
        if version not in (1, FORMAT_VERSION):
            raise PlanError(
                f"Expected {name} in format {FORMAT_VERSION}, got {version}: it was made by "
                "another version of qhead; use that one, or plan again."
            )
        try:
            model, again = fields["model"], fields["recalibration"]
            return cls(
                SentenceSource(**fields["data"]),
                None if version == 1 else Readout.of(fields["readout"]),
                model and SavedModel(**model),
                again
                and Recalibration(
                    SentenceSource(**again["texts"]), tuple(tuple(row) for row in again["exact"])
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise PlanError(
                f"Expected {name} to be readable, got one with {error!r}; plan again."
            ) from error


def fingerprint(texts: Sequence[str]) -> str:
    """Return SHA-256 of sentences in their order, as hexadecimal digits."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()
