"""``qhead report``: one page about a saved model or a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qhead.cli.options import Force, Json, SavedEncoder, choice

ModelOrStudy = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Folder of a model or of a study.")
]


def report(
    model: ModelOrStudy,
    encoder: SavedEncoder,
    out: Annotated[
        Path | None, choice("--out", "Output file; default: FOLDER.html beside the folder.")
    ] = None,
    study: Annotated[
        str | None,
        choice(
            "--study",
            "Folders of studies of the model, with commas between them, for its page.",
            metavar="WORDS",
        ),
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write one self-contained HTML page about a saved model, or about a study."""
    from dataclasses import replace

    import matplotlib

    from qhead.cli.show import show
    from qhead.errors import InputError
    from qhead.files import check_new
    from qhead.progress import waiting
    from qhead.report.model_page import model_page
    from qhead.report.page import write
    from qhead.studies.pages import study_page, study_sections
    from qhead.studies.study import is_study, read_study, studies_of

    matplotlib.use("agg")  # no window, wherever this runs
    folder = model.absolute()
    page = out or folder.with_name(f"{folder.name}.html")
    check_new(page, force=force)
    with waiting("drawing the report"):
        if is_study(folder):
            if study is not None:
                raise InputError(f"{folder} is a study itself: leave --study out.")
            made = study_page(read_study(folder), folder.name)
        else:
            subject = encoder.model(model)
            found = studies_of(subject, [] if study is None else study.split(","))
            made = model_page(subject, folder.name)
            made = replace(made, sections=[part for each in found for part in study_sections(each)])
        write(made, page)
    show({"report": str(page)}, f"report: {page}", json=json)
