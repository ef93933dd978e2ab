"""Arguments and options that several verbs share. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hardware.devices.login import Account
    from qhead.classifier import TextClassifier
    from qhead.encoder.sentence_encoder import SentenceEncoder
    from qhead.predictor import Predictor

DEVICE, _ENCODER = "Device", "Encoder"  # panels of the help
FORMATS = ("csv", "jsonl")


def choice(flag: str, help: str, panel: str | None = None, **more: Any) -> Any:
    """Return an option that has no default of its own to show."""
    return typer.Option(flag, help=help, rich_help_panel=panel, show_default=False, **more)


Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="CSV, TSV, JSONL, JSON or Parquet file (or .gz), folder of splits, Hub data set id, "
        "demo:reviews or demo:support.",
    ),
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, or its beginning.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of all random numbers.", min=0)]
Force = Annotated[bool, typer.Option("--force", help="Overwrite --out if it exists.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Do not use the embedding cache.")]
PerClass = Annotated[
    int | None,
    choice(
        "--per-class",
        "Rows to sample per class for training; tested on DATA's test split, or else on the rest.",
        min=1,
    ),
]
Split = Annotated[str | None, choice("--split", "Split to use if DATA has several; default: test.")]
Target = Annotated[
    str,
    typer.Option(
        "--target",
        help="Where circuits run: exact, shots:N, noisy:P1,P2[,READOUT], aer:NAME, fake:NAME or "
        "ibm:NAME; add :SHOTS to the last four.",
    ),
]
DEVICES = (
    "fake:NAME, ibm:NAME, ibm:least_busy, ibm:best or backend:MODULE:FUNCTION; add :SHOTS. The "
    "last imports that Python module and runs its code: the function returns any Qiskit BackendV2."
)
Budget = Annotated[
    float | None,
    choice(
        "--budget",
        "QPU seconds that the run may use by its estimate; required for ibm:. The platform stops a "
        "job that exceeds its estimate by a quarter.",
        DEVICE,
    ),
]
Recalibrate = Annotated[
    str | None,
    choice(
        "--recalibrate",
        "Labelled sentences to run as well, on which the read-out is refitted.",
        DEVICE,
        metavar="DATA",
    ),
]
Adaptive = Annotated[
    bool,
    typer.Option(
        "--adaptive",
        help="Spend the shots in rounds: few for each sentence, more where its label is undecided.",
    ),
]
Tiles = Annotated[
    str | None,
    choice("--tiles", "Regions of the chip to use at the same time: 1, N or auto.", DEVICE),
]


@dataclass(frozen=True)
class TextColumn:
    """How sentences are read from a file with columns."""

    text_column: Annotated[str | None, choice("--text-column", "Column with the sentences.")] = None
    skip_empty: Annotated[
        bool, typer.Option("--skip-empty", help="Skip empty texts and say how many.")
    ] = False

    @property
    def names(self) -> tuple[str | None, str | None]:
        """The columns of text and of label."""
        return self.text_column, None


@dataclass(frozen=True)
class Columns(TextColumn):
    """How labelled sentences are read from a file with columns."""

    label_column: Annotated[str | None, choice("--label-column", "Column with the labels.")] = None

    @property
    def names(self) -> tuple[str | None, str | None]:
        """The columns of text and of label."""
        return self.text_column, self.label_column


@dataclass(frozen=True)
class NewEncoder:
    """The sentence encoder of a new model."""

    encoder: Annotated[
        str | None,
        choice(
            "--encoder",
            "Folder or Hub id of a sentence-transformers model; default: all-MiniLM-L6-v2.",
            _ENCODER,
        ),
    ] = None
    revision: Annotated[
        str | None, choice("--revision", "Branch, tag or commit of a Hub encoder.", _ENCODER)
    ] = None
    no_cache: NoCache = False

    def open(self) -> SentenceEncoder:
        """Load it."""
        from qhead.encoder.sentence_encoder import DEFAULT_MODEL, SentenceEncoder

        return SentenceEncoder(
            self.encoder or DEFAULT_MODEL, revision=self.revision, cache=not self.no_cache
        )


@dataclass(frozen=True)
class SavedEncoder:
    """The sentence encoder of a saved model."""

    encoder: Annotated[
        str | None,
        choice("--encoder", "Folder or Hub id of the model's encoder if it has moved.", _ENCODER),
    ] = None
    revision: Annotated[
        str | None, choice("--revision", "Branch, tag or commit of a Hub encoder.", _ENCODER)
    ] = None
    no_cache: NoCache = False

    def model(self, folder: Path) -> TextClassifier:
        """Load the model of a folder with this encoder."""
        from qhead.classifier import TextClassifier

        return TextClassifier.load(
            folder, encoder=self.encoder, revision=self.revision, cache=not self.no_cache
        )

    def predictor(self, folder: Path) -> Predictor:
        """Load the model of a folder with this encoder, for prediction alone."""
        from qhead.predictor import Predictor

        return Predictor.load(
            folder, encoder=self.encoder, revision=self.revision, cache=not self.no_cache
        )


@dataclass(frozen=True)
class AccountChoice:
    """The account on the IBM Quantum platform."""

    account: Annotated[
        str | None, choice("--account", "Name of the saved account to log in with.", DEVICE)
    ] = None
    instance: Annotated[
        str | None, choice("--instance", "CRN or name of the account's instance.", DEVICE)
    ] = None
    channel: Annotated[
        str | None, choice("--channel", "ibm_quantum_platform or ibm_cloud.", DEVICE)
    ] = None

    def open(self) -> Account | None:
        """Return the account; None for the client's default.

        Raises:
            InvalidInputError: A field is empty, or there is no such channel.
        """
        from hardware.devices.login import Account

        fields = (self.account, self.instance, self.channel)
        return None if fields == (None, None, None) else Account(*fields)


@dataclass(frozen=True)
class RowsOut:
    """Where predicted rows go, and in which format."""

    out: Annotated[Path | None, choice("--out", "Output file; default: standard output.")] = None
    force: Force = False
    format: Annotated[
        str, typer.Option("--format", help="csv, or jsonl with one JSON object per line.")
    ] = "csv"
    raw: Annotated[
        bool,
        typer.Option("--raw", help="CSV: keep cells that a spreadsheet would run as formulas."),
    ] = False

    def check(self) -> None:
        """Refuse a format that there is not, or a file that must not be replaced.

        Raises:
            InputError: One of the two.
        """
        from hardware.errors import did_you_mean
        from qhead.errors import InputError
        from qhead.files import check_new

        if self.format not in FORMATS:
            raise InputError(
                f"Expected --format {' or '.join(FORMATS)}, got {self.format!r}."
                f"{did_you_mean(self.format, FORMATS)}"
            )
        check_new(self.out, force=self.force)
