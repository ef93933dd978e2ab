"""Studies: questions put to heads and data, each answered by rows."""
