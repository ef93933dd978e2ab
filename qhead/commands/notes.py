"""What a plan must remember, so that its results become labels again.

A plan knows circuits and numbers. `JobPlan.about` holds fingerprints of the model and of the
sentences, and where the user said they are. No sentence is stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hardware.errors import PlanError
from hardware.planning.plan import JobPlan
from qhead.errors import ModelError

FORMAT = "qhead-run"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class ModelNote:
    """A model folder: where it was, and SHA-256 of the files that decide its predictions."""

    path: str
    weights: str
    config: str

    @classmethod
    def of(cls, folder: Path) -> ModelNote:
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

    def check(self, folder: Path) -> None:
        """Raise a `ModelError` unless this very model is in the folder."""
        now = ModelNote.of(folder)
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
                f"Expected the model that the plan was made for, got another in {folder}: its "
                f"{' and '.join(changed)} changed since. Bring the old model back, or plan again "
                "with the new one."
            )


@dataclass(frozen=True)
class TextsNote:
    """Sentences: where they came from, how many they are, and SHA-256 of them in their order."""

    source: str
    split: str | None
    text_column: str | None
    num_rows: int
    fingerprint: str
    skip_empty: bool = False  # empty texts were left out

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        source: str,
        split: str | None,
        text_column: str | None,
        skip_empty: bool = False,
    ) -> TextsNote:
        """Return the note of some sentences; of files and folders the place is kept in full."""
        # A run is collected from anywhere, not only from where it was sent.
        place = str(Path(source).absolute()) if source != "-" and Path(source).exists() else source
        return cls(place, split, text_column, len(texts), fingerprint(texts), skip_empty)


@dataclass(frozen=True)
class Recalibration:
    """Sentences behind those that were asked for, and what the circuits give without noise.

    Args:
        texts: The sentences.
        exact: Noiseless expectation values of each, shape (R, M).
    """

    texts: TextsNote
    exact: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class About:
    """What a plan of a model's predictions must remember."""

    model: ModelNote
    data: TextsNote
    recalibration: Recalibration | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-able dictionary, for `JobPlan.about`."""
        return {"format": FORMAT, "version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def of(cls, made: JobPlan, name: str) -> About:
        """Return what a plan remembers; `name` says in messages which plan it is.

        Raises:
            PlanError: It was not made for a model, or by a newer version.
        """
        noted = made.about
        if noted.get("format") != FORMAT:
            raise PlanError(
                f"Expected {name} to be of a model's predictions, but it was not planned by qhead: "
                "read it with `hardware.runs.runner`."
            )
        if noted.get("version") != FORMAT_VERSION:
            raise PlanError(
                f"Expected {name} in format {FORMAT_VERSION}, got {noted.get('version')}: it was "
                "made by another version of qhead; use that one, or plan again."
            )
        try:
            again = noted["recalibration"]
            return cls(
                ModelNote(**noted["model"]),
                TextsNote(**noted["data"]),
                again
                and Recalibration(
                    TextsNote(**again["texts"]), tuple(tuple(row) for row in again["exact"])
                ),
            )
        except (KeyError, TypeError) as error:
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
