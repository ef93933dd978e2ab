"""Sentences predicted as they arrive: a stream of lines in, a record a line out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from hardware.emulation.emulated import EmulatedTarget
from qhead.data.texts import MAX_CHARACTERS, check_text, is_empty
from qhead.errors import DataError
from qhead.prediction import FIELDS, predict_head
from qhead.predictor import Predictor

#: Bytes that are read at once where as many are waiting; sentences that are predicted together.
_BLOCK, CHUNK = 1 << 16, 1024
#: A line of more bytes has more characters than a text may have.
_MAX_LINE = 4 * MAX_CHARACTERS
_MARK = "\ufeff".encode()


def follow(
    predictor: Predictor,
    stream: BinaryIO,
    target: EmulatedTarget | None = None,
    *,
    skip_empty: bool = False,
    notes: list[str] | None = None,
) -> Iterator[tuple[dict[str, Any], str]]:
    """Predict each line of a stream soon after it has arrived, lines that wait together.

    A line that is no sentence does not end the stream: its record holds None in place of every
    value, so that there is one record a line, in order. Line n gets the shots that it would get
    among all lines at once, whatever lines it is predicted with.

    Args:
        predictor: The model.
        stream: UTF-8, a sentence a line; a CR before the line's end and a byte order mark at the
            beginning are left out.
        target: Where the circuits run; None is exact.
        skip_empty: Leave empty lines out.
        notes: Gets what the target says of itself.

    Yields:
        Text, label, probability, std_error, decided; and what is wrong with the line, or "".

    Raises:
        EncoderError, HeadError: As `Predictor.predict_detailed`.
    """
    number = done = 0
    for lines in _arriving(stream):
        for start in range(0, len(lines), CHUNK):
            read = [_sentence(raw, number + 1 + i) for i, raw in enumerate(lines[start:][:CHUNK])]
            number += len(read)
            if skip_empty:
                read = [each for each in read if not is_empty(each[0])]
            texts = [text for text, problem in read if not problem]
            found = iter(_records(predictor, texts, target, done, notes))
            done += len(texts)
            for _, problem in read:
                yield (dict.fromkeys(("text", *FIELDS)) if problem else next(found)), problem


def _records(
    predictor: Predictor,
    texts: Sequence[str],
    target: EmulatedTarget | None,
    first_row: int,
    notes: list[str] | None,
) -> Iterator[dict[str, Any]]:
    if not texts:
        return
    where = None if target is None else target.from_row(first_row)
    prediction = predict_head(predictor.head_, predictor.embed(texts), where)
    if notes is not None:
        notes += [note for note in prediction.notes if note not in notes]
    yield from prediction.records(texts)


def _arriving(stream: BinaryIO) -> Iterator[list[bytes]]:
    """Yield the lines that have arrived, without their ends, whenever there are any.

    Of a line that is too long only the beginning is kept, so that memory stays bounded.
    """
    rest = b""
    while block := stream.read1(_BLOCK):  # type: ignore[attr-defined]
        *lines, rest = (rest + block).split(b"\n")
        rest = rest[: _MAX_LINE + 1]
        if lines:
            yield lines
    if rest:
        yield [rest]


def _sentence(raw: bytes, number: int) -> tuple[str, str]:
    """Return the text of a line and what is wrong with it, or ""."""
    place = f"line {number}"
    raw = raw.removesuffix(b"\r")
    if number == 1:
        raw = raw.removeprefix(_MARK)
    if len(raw) > _MAX_LINE:
        return "…", f"{place}: expected at most {MAX_CHARACTERS:,} characters in a text, got more."
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        return "?", f"{place}: expected UTF-8, got byte 0x{byte:02x} at offset {error.start}."
    try:
        return check_text(text, place, max_characters=MAX_CHARACTERS), ""
    except DataError as error:
        return text, str(error)
