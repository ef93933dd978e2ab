"""``qhead study``: questions put to a model and labelled sentences, answered by rows and a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qhead.cli.generated import Library
from qhead.cli.options import Columns, Data, Json, Model, SavedEncoder, Seed, Split, choice

if TYPE_CHECKING:
    from qhead.classifier import TextClassifier
    from qhead.data import LabelledTexts
    from qhead.studies.study import Study


def _options(kind: str, name: str) -> Library:
    return Library({kind: (f"qhead.studies.{kind}", name)}, lambda _: "Study")


@dataclass(frozen=True)
class StudyOut:
    """Where a study is kept."""

    out: Annotated[
        Path | None,
        choice("--out", "Folder for the record (study.json) and the page (report.html)."),
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier study in --out.")] = (
        False
    )

    def check(self) -> None:
        """Refuse a folder that cannot be written, or that holds a study already.

        Raises:
            InputError: One of the two.
        """
        from qhead.files import check_new
        from qhead.studies.study import PAGE, RECORD

        if self.out is not None:
            check_new(self.out / RECORD, force=self.force)
            check_new(self.out / PAGE, force=self.force)


def shots(
    model: Model,
    data: Data,
    columns: Columns,
    encoder: SavedEncoder,
    options: Annotated[dict[str, Any], _options("shots", "ShotsStudy")],
    place: StudyOut,
    split: Split = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """See how few shots keep the accuracy, and what they cost."""
    from qhead.studies.shots import ShotsStudy, study_shots

    chosen = ShotsStudy(**options)
    place.check()
    subject = _read(model, data, columns, encoder, split)
    _show(study_shots(*subject, chosen, name=str(model), seed=seed), place, json=json)


def noise(
    model: Model,
    data: Data,
    columns: Columns,
    encoder: SavedEncoder,
    options: Annotated[dict[str, Any], _options("noise", "NoiseStudy")],
    place: StudyOut,
    split: Split = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """See which of a device's errors costs how much accuracy."""
    from qhead.studies.noise import NoiseStudy, study_noise

    chosen = NoiseStudy(**options)
    place.check()
    subject = _read(model, data, columns, encoder, split)
    _show(study_noise(*subject, chosen, name=str(model), seed=seed), place, json=json)


def _read(
    model: Path, data: str, columns: Columns, encoder: SavedEncoder, split: str | None
) -> tuple[TextClassifier, LabelledTexts]:
    """Return the model and the labelled sentences."""
    from qhead.data.loading import load_split
    from qhead.data.parts import align_labels

    labelled = load_split(data, split, columns.names, skip_empty=columns.skip_empty)
    classifier = encoder.model(model)
    return classifier, align_labels(labelled, classifier.classes_)


def _show(study: Study, place: StudyOut, *, json: bool) -> None:
    """Keep a study in its folder and print it; print it even if it cannot be kept."""
    import matplotlib

    from qhead.cli.show import show, table
    from qhead.errors import InputError
    from qhead.report.page import write
    from qhead.studies.pages import cells, study_page
    from qhead.studies.study import PAGE, write_record

    parts = []
    for each in study.tables:
        columns, rows = cells(each)
        made = table(f"{each.title}: {each.text}", columns[:1], columns[1:], caption=each.finding)
        for row in rows:
            made.add_row(*row)
        parts.append(made)
    files: dict[str, str] = {}
    failure = None
    if place.out is not None:
        matplotlib.use("agg")  # no window, wherever this runs
        try:
            # The numbers first: what goes wrong with a picture must not cost them.
            files["record"] = str(write_record(study, place.out))
            write(study_page(study, place.out.absolute().name), place.out / PAGE)
            files["report"] = str(place.out / PAGE)
        except InputError as error:
            failure = error
    show(
        study.as_dict() | files,
        *parts,
        *(f"· {note}" for note in study.notes),
        *(f"{name}: {path}" for name, path in files.items()),
        json=json,
    )
    if failure is not None:
        raise failure
