"""``qhead report``: one page about a saved model."""

from __future__ import annotations

from pathlib import Path

import matplotlib

from qhead.commands.arguments import EncoderChoice
from qhead.commands.common import open_model, show
from qhead.files import check_new
from qhead.progress import waiting
from qhead.report.model_page import model_page
from qhead.report.page import write


def run(folder: Path, out: Path | None, *, force: bool, json: bool, encoder: EncoderChoice) -> None:
    """Write the page beside the model's folder, or where `out` says."""
    matplotlib.use("agg")  # no window, wherever this runs
    page = out or folder.absolute().with_name(f"{folder.absolute().name}.html")
    check_new(page, force=force)
    with waiting("drawing the report"):
        write(model_page(open_model(folder, encoder), folder.absolute().name), page)
    show({"report": str(page)}, f"report: {page}", json=json)
