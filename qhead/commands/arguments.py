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
        help="A CSV, TSV, JSONL, JSON or Parquet file (.gz too), a folder of splits, a Hub data "
        "set id, or demo:reviews, demo:support.",
    ),
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.", min=0)]
Force = Annotated[bool, typer.Option("--force", help="Replace what --out names.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither read nor keep embeddings.")]
SkipEmpty = Annotated[
    bool, typer.Option("--skip-empty", help="Leave empty texts out; they are counted.")
]
_ENCODER = "Encoder"  # panel of the help
NewEncoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        help="Folder or Hub id of a sentence-transformers model; default: the one that comes with "
        "qhead.",
        rich_help_panel=_ENCODER,
        show_default=False,
    ),
]
EncoderPlace = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        help="Where the model's sentence encoder is now: its folder or id of the Hub.",
        rich_help_panel=_ENCODER,
        show_default=False,
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(
        "--revision",
        help="Branch, tag or commit of an encoder of the Hub.",
        rich_help_panel=_ENCODER,
        show_default=False,
    ),
]
TextColumn = Annotated[
    str | None, typer.Option("--text-column", help="Column of the sentences.", show_default=False)
]
LabelColumn = Annotated[
    str | None, typer.Option("--label-column", help="Column of the labels.", show_default=False)
]
Target = Annotated[str, typer.Option("--target", help="Where the circuits run.")]
Budget = Annotated[
    float | None,
    typer.Option(
        "--budget",
        help="QPU seconds that the run may use, compared with the estimate; required for ibm:. A "
        "job may overrun its estimate by a quarter before the platform stops it.",
        rich_help_panel=DEVICE,
        show_default=False,
    ),
]
Recalibrate = Annotated[
    str | None,
    typer.Option(
        "--recalibrate",
        help="Validation sentences, run along, on which the read-out is refitted.",
        metavar="DATA",
        rich_help_panel=DEVICE,
        show_default=False,
    ),
]
TilesOnDevice = Annotated[
    str | None,
    typer.Option(
        "--tiles",
        help="Regions of the chip used at the same time: 1, N or auto.",
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
