"""Files as people have them: line ends, separators, long fields, names of columns and splits."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from qhead.data import load_texts, load_unlabelled
from qhead.errors import DataError


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("a.csv", ["text,label", '"fine, really",1', "poor,0"]),
        ("a.tsv", ["text\tlabel", "fine, really\t1", "poor\t0"]),
        (
            "a.jsonl",
            ['{"text": "fine, really", "label": 1}', '{"text": "poor", "label": 0}'],
        ),
    ],
)
def test_every_line_end_is_read(tmp_path: Path, name: str, lines: list[str], end: str) -> None:
    data = load_texts(write(tmp_path, name, end.join([*lines, ""])))
    assert data.texts == ("fine, really", "poor")
    assert data.labels.tolist() == [1, 0]


def test_plain_text_of_an_old_mac_has_lines_too(tmp_path: Path) -> None:
    assert load_unlabelled(write(tmp_path, "a.txt", "fine\rpoor\r")) == ("fine", "poor")
    assert load_unlabelled(write(tmp_path, "b.txt", "fi\rne\npoor")) == ("fi\rne", "poor")


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_line_of_names_tells_the_separator(tmp_path: Path, mark: str) -> None:
    rows = [["note", "text", "label"], ["x", f"fine{mark} really", "1"], ["a,b;c|d", "poor", "0"]]
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=mark).writerows(rows)
    assert load_texts(path).texts == (f"fine{mark} really", "poor")
    assert load_unlabelled(path) == (f"fine{mark} really", "poor")


def test_a_name_may_hold_another_separator(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label,a;b;c;d\nfine,1,x\n")
    assert load_texts(path).texts == ("fine",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "body|mark\nfine|1\n", r"line 1: .*'body', 'mark'\. Name the column"),
        ("a.csv", "body,sentiment_x\nfine,1\n", r"text column .*'sentiment_x'\. Name the column"),
        ("a.csv", "text,sentiment_x\nfine,1\n", r"label column .*Did you mean 'sentiment_x'"),
        ("a.csv", "text\nfine\n", r"label column .*got the columns 'text'\. Name the column"),
        ("a.tsv", "text,label\nfine,1\n", r"line 1: .*tabs, got commas\. Rename .*\.csv"),
        ("a.csv", "text|label\na|b|1\n", r"line 2: .*got 3.*holds a vertical bar in"),
        ("a.csv", 'te"x"t,"lab\n', r"a\.csv, line 1: "),
    ],
)
def test_hints_name_the_cause(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_texts(write(tmp_path, name, content))


def test_a_long_field_is_the_projects_own_matter(tmp_path: Path) -> None:
    long = "a" * 150_000
    before = csv.field_size_limit()
    for name, mark in (("a.csv", ","), ("a.tsv", "\t")):
        path = write(tmp_path, name, f"text{mark}label\nfine{mark}1\n{long}{mark}0\n")
        with pytest.raises(DataError, match=r"line 3: expected at most 20,000 .*got 150,000"):
            load_texts(path)
        beside = write(tmp_path, name, f"text{mark}label{mark}{long}\nfine{mark}1{mark}x\n")
        assert load_texts(beside).texts == ("fine",)
    assert csv.field_size_limit() == before
