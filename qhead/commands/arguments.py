"""Arguments and options that several verbs share. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

DEVICE = "Device"  # panel of the help

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="CSV, TSV, JSONL, JSON or Parquet file (or .gz), folder of splits, Hub data set id, "
        "demo:reviews or demo:support.",
    ),
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of all random numbers.", min=0)]
Force = Annotated[bool, typer.Option("--force", help="Overwrite --out if it exists.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Do not use the embedding cache.")]
SkipEmpty = Annotated[bool, typer.Option("--skip-empty", help="Skip empty texts and say how many.")]
_ENCODER = "Encoder"  # panel of the help
NewEncoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        help="Folder or Hub id of a sentence-transformers model; default: all-MiniLM-L6-v2.",
        rich_help_panel=_ENCODER,
        show_default=False,
    ),
]
EncoderPlace = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        help="Folder or Hub id of the model's sentence encoder, if it has moved.",
        rich_help_panel=_ENCODER,
        show_default=False,
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(
        "--revision",
        help="Branch, tag or commit of a Hub encoder.",
        rich_help_panel=_ENCODER,
        show_default=False,
    ),
]
TextColumn = Annotated[
    str | None, typer.Option("--text-column", help="Column with the sentences.", show_default=False)
]
LabelColumn = Annotated[
    str | None, typer.Option("--label-column", help="Column with the labels.", show_default=False)
]
Target = Annotated[
    str,
    typer.Option(
        "--target",
        help="Where circuits run: exact, shots:N, noisy:P1,P2[,READOUT], aer:NAME, fake:NAME or "
        "ibm:NAME; add :SHOTS to the last four.",
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        "--budget",
        help="QPU seconds that the run may use by its estimate; required for ibm:. The platform "
        "stops a job that exceeds its estimate by a quarter.",
        rich_help_panel=DEVICE,
        show_default=False,
    ),
]
Recalibrate = Annotated[
    str | None,
    typer.Option(
        "--recalibrate",
        help="Labelled sentences to run as well, on which the read-out is refitted.",
        metavar="DATA",
        rich_help_panel=DEVICE,
        show_default=False,
    ),
]
TilesOnDevice = Annotated[
    str | None,
    typer.Option(
        "--tiles",
        help="Regions of the chip to use at the same time: 1, N or auto.",
        rich_help_panel=DEVICE,
        show_default=False,
    ),
]


@dataclass(frozen=True)
class EncoderChoice:
    """How the sentence encoder of a model is opened.

    Args:
        place: Its folder or id of the Hub; None: what the model recorded.
        revision: Branch, tag or commit of the Hub; None: what the model recorded.
        cache: Whether embeddings are read from and kept in the cache.
    """

    place: str | None = None
    revision: str | None = None
    cache: bool = True
