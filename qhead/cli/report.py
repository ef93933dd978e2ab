"""``qhead report``: one page about a saved model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from qhead.cli.options import Force, Json, Model, SavedEncoder, choice


def report(
    model: Model,
    encoder: SavedEncoder,
    out: Annotated[
        Path | None, choice("--out", "Output file; default: MODEL.html beside the folder.")
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write one self-contained HTML page about a saved model."""
    import matplotlib

    from qhead.cli.show import show
    from qhead.files import check_new
    from qhead.progress import waiting
    from qhead.report.model_page import model_page
    from qhead.report.page import write

    matplotlib.use("agg")  # no window, wherever this runs
    folder = model.absolute()
    page = out or folder.with_name(f"{folder.name}.html")
    check_new(page, force=force)
    with waiting("drawing the report"):
        write(model_page(encoder.model(model), folder.name), page)
    show({"report": str(page)}, f"report: {page}", json=json)
