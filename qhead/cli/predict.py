"""``qhead predict``: sentences in; labels, probabilities and standard errors out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from qhead.cli.options import Json, Model, RowsOut, SavedEncoder, Seed, Target, TextColumn
from qhead.cli.short_run import ShortRun, run_now, sentences_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hardware.emulation.emulated import EmulatedTarget
    from hardware.targets import ExecutionTarget
    from qhead.predictor import Predictor

#: Rows that are embedded, predicted and written together.
CHUNK = 1024
_FIELDS = ("text", "label", "probability", "std_error", "decided")


def predict(
    model: Model,
    columns: TextColumn,
    encoder: SavedEncoder,
    device: ShortRun,
    rows_out: RowsOut,
    file: Annotated[
        str,
        typer.Argument(
            metavar="[FILE|-]",
            help="Data file, .txt file with one sentence per line, or - for standard input.",
        ),
    ] = "-",
    target: Target = "exact",
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Answer each line of standard input as it comes, until its end. A line that is no "
            "sentence gets an empty row and a message; the exit code is then 2.",
        ),
    ] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Predict labels, with probability, standard error and whether each label is decided."""
    from hardware.devices.named import is_device
    from qhead.cli.rows import write_rows
    from qhead.data.loading import load_unlabelled
    from qhead.targets import resolve_target

    rows_out.check()
    if follow:
        _check_followed(file, target, columns, rows_out, adaptive=device.adaptive, json=json)
    device.check(target)
    on_device = is_device(target)
    where: Any = None if on_device else resolve_target(target, seed=seed)
    # Before anybody types sentences for it.
    loaded: Any = encoder.model(model) if on_device else encoder.predictor(model)
    if follow:
        _follow(loaded, where, columns, rows_out)
        return
    texts = load_unlabelled(file, text_column=columns.text_column, skip_empty=columns.skip_empty)
    found = None
    notes: list[str] = []
    if on_device:
        sentences = sentences_of(file, texts, columns)
        found = run_now(loaded, sentences, target, device, columns, seed)
        rows = found.records(numbered=False, whole=True)
        notes += found.prediction.notes
    else:
        rows = _rows(loaded, texts, where, notes, adaptive=device.adaptive)
    about = {"model": str(model), "data": file, "target": target, "seed": seed}
    write_rows(
        rows,
        rows_out,
        about | ({} if found is None else found.run_record()),
        fields=_FIELDS,
        notes=notes,
        json=json,
    )
    if found is not None and found.missing:
        raise found.missing_error()


def _rows(
    model: Predictor,
    texts: tuple[str, ...],
    target: ExecutionTarget | None,
    notes: list[str],
    *,
    adaptive: bool,
) -> Iterator[dict[str, Any]]:
    """Yield a record a sentence; what the target says of itself is added to `notes`."""
    from hardware.circuits.adaptive import AdaptiveShots
    from qhead.prediction import predict_head
    from qhead.progress import counting_bar, waiting

    if target is not None:
        # All rows at once: the target decides how to batch them.
        with counting_bar("embedding") as bar:
            embeddings = model.embed(texts, progress=lambda done, total: bar(done, total))
        with waiting(f"predicting {len(texts):,} sentences"):
            rounds = AdaptiveShots.of(adaptive)
            prediction = predict_head(model.head_, embeddings, target, adaptive=rounds)
        notes += prediction.notes
        yield from prediction.records(texts)
        return
    with counting_bar("predicting") as bar:
        for start in range(0, len(texts), CHUNK):
            part = texts[start : start + CHUNK]
            embeddings = model.embed(
                part, progress=lambda done, _, start=start: bar(start + done, len(texts))
            )
            yield from predict_head(model.head_, embeddings).records(part)


def _check_followed(
    file: str, target: str, columns: TextColumn, place: RowsOut, *, adaptive: bool, json: bool
) -> None:
    """Refuse what a stream of lines cannot go with.

    Raises:
        InputError: A file, one result for all lines, or a device.
    """
    from hardware.devices.named import is_device
    from qhead.errors import InputError

    if is_device(target):
        raise InputError(
            f"--follow answers at once, and {target!r} plans and sends jobs. Choose exact, "
            "shots:N, noisy:P1,P2 or aer:NAME, or leave --follow out."
        )
    given = {
        "FILE": file != "-",
        "--out": place.out is not None,
        "--text-column": columns.text_column is not None,
        "--adaptive": adaptive,
        "--json": json,
    }
    if named := [name for name, there in given.items() if there]:
        raise InputError(
            f"--follow reads plain lines from standard input and writes rows to standard output. "
            f"Leave out {', '.join(named)}; --format jsonl writes a JSON object a line."
        )


def _follow(
    model: Predictor, target: EmulatedTarget | None, columns: TextColumn, place: RowsOut
) -> None:
    """Answer lines of standard input until its end.

    Raises:
        DataError: At the end, if lines were no sentences.
    """
    from hardware.words import counted
    from qhead.cli.guard import complain
    from qhead.cli.rows import write_rows
    from qhead.data.loading import standard_input
    from qhead.errors import DataError
    from qhead.follow import follow

    notes: list[str] = []
    bad = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal bad
        found = follow(model, standard_input(), target, skip_empty=columns.skip_empty, notes=notes)
        for record, problem in found:
            if problem:
                complain("Error", f"standard input, {problem}")
                bad += 1
            yield record

    write_rows(rows(), place, {}, fields=_FIELDS, notes=notes, json=False, live=True)
    if bad:
        lines = counted(bad, "line")
        has = "has" if bad == 1 else "have"
        raise DataError(f"{lines} of standard input {has} no label; the messages above say why.")
