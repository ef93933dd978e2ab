"""Checks of the demonstration data shipped in ``qhead/demo``."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from importlib.resources import files

import pytest

DATA_SETS: dict[str, tuple[int, tuple[str, ...]]] = {
    "reviews.tsv": (520, ("negative", "positive")),
    "support.tsv": (312, ("account", "billing", "technical")),
}
MIN_WORDS = 5
MAX_WORDS = 30
MAX_JACCARD = 0.6
MAX_SAME_LEAD = 3

Row = tuple[str, str]

each_file = pytest.mark.parametrize("name", sorted(DATA_SETS))


def _read_bytes(name: str) -> bytes:
    return (files("qhead") / "demo" / name).read_bytes()


@cache
def _lines(name: str) -> tuple[str, ...]:
    return tuple(_read_bytes(name).decode("utf-8").split("\n"))


@cache
def _rows(name: str) -> tuple[Row, ...]:
    rows: list[Row] = []
    for line in _lines(name)[1:-1]:
        text, label = line.split("\t")
        rows.append((text, label))
    return tuple(rows)


def _tokens(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())


@each_file
def test_is_utf8_with_lf_line_ends(name: str) -> None:
    data = _read_bytes(name)
    assert not data.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in data
    assert data.endswith(b"\n")
    data.decode("utf-8")


@each_file
def test_has_the_two_columns(name: str) -> None:
    lines = _lines(name)
    assert lines[0] == "text\tlabel"
    assert lines[-1] == ""
    assert [line for line in lines[1:-1] if line.count("\t") != 1] == []


@each_file
def test_counts_and_balance(name: str) -> None:
    minimum, labels = DATA_SETS[name]
    rows = _rows(name)
    counts = Counter(label for _, label in rows)
    assert len(rows) >= minimum
    assert sorted(counts) == sorted(labels)
    assert max(counts.values()) - min(counts.values()) <= 0.01 * len(rows)


@each_file
def test_readme_names_the_file_and_its_counts(name: str) -> None:
    readme = (files("qhead") / "demo" / "README.md").read_text(encoding="utf-8")
    [line] = [line for line in readme.splitlines() if f"`{name}`" in line]
    counts = Counter(label for _, label in _rows(name))
    assert str(len(_rows(name))) in line
    for label, count in counts.items():
        assert f"`{label}` ({count})" in line


@each_file
def test_labels_are_mixed(name: str) -> None:
    labels = [label for _, label in _rows(name)]
    for start in range(0, len(labels) - 40, 20):
        assert set(labels[start : start + 40]) == set(DATA_SETS[name][1])


@each_file
def test_texts_are_plain_and_of_bounded_length(name: str) -> None:
    for text, _ in _rows(name):
        assert text == " ".join(text.split()), text
        assert text.isprintable(), text
        assert '"' not in text, text  # safe for a CSV reader that knows quotes
        assert MIN_WORDS <= len(text.split()) <= MAX_WORDS, text


@each_file
def test_no_text_occurs_twice(name: str) -> None:
    counts = Counter(" ".join(_tokens(text)) for text, _ in _rows(name))
    assert [text for text, count in counts.items() if count > 1] == []


@each_file
def test_no_two_texts_are_nearly_the_same(name: str) -> None:
    texts = [text for text, _ in _rows(name)]
    token_sets = [frozenset(_tokens(text)) for text in texts]
    close: list[tuple[str, str]] = []
    for i, first in enumerate(token_sets):
        for j in range(i):
            second = token_sets[j]
            shared = len(first & second)
            if shared > MAX_JACCARD * (len(first) + len(second) - shared):
                close.append((texts[j], texts[i]))
    assert close == []


@each_file
def test_no_opening_is_overused(name: str) -> None:
    leads = Counter(" ".join(_tokens(text)[:4]) for text, _ in _rows(name))
    assert [lead for lead, count in leads.items() if count > MAX_SAME_LEAD] == []


def test_the_two_files_share_no_text() -> None:
    reviews = {text for text, _ in _rows("reviews.tsv")}
    support = {text for text, _ in _rows("support.tsv")}
    assert reviews.isdisjoint(support)
