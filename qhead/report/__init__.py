"""One self-contained HTML page: rows and runs in, plots and tables out."""
