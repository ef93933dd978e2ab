"""Files as people have them: line ends, separators, long fields, names of columns and splits."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qhead.data import LabelledTexts, load_splits, load_texts, load_unlabelled, missing_values
from qhead.data.loading import load_split
from qhead.data.parts import align_labels, load_parts
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


def write_tables(folder: Path, labels: list[Any]) -> list[Path]:
    """Write one table as CSV, JSONL, JSON and Parquet."""
    texts = [f"sentence {index}" for index in range(len(labels))]
    rows = [{"text": t, "label": c} for t, c in zip(texts, labels, strict=True)]
    lines = [f"{t},{c}" for t, c in zip(texts, labels, strict=True)]
    pq.write_table(pa.table({"text": texts, "label": labels}), folder / "a.parquet")
    return [
        write(folder, "a.csv", "\n".join(["text,label", *lines])),
        write(folder, "a.jsonl", "\n".join(map(json.dumps, rows))),
        write(folder, "a.json", json.dumps(rows)),
        folder / "a.parquet",
    ]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([True, False, True], ["True", "False", "True"]),
        ([1.0, 0.0, -2.0], [1, 0, -2]),
        ([1, 0, 7], [1, 0, 7]),
        (["TRUE", "false", "True"], ["True", "False", "True"]),
        (["true", "no", "1.0"], ["true", "no", "1.0"]),
    ],
)
def test_labels_are_the_same_from_every_format(tmp_path: Path, caplog, labels, expected) -> None:
    for path in write_tables(tmp_path, labels):
        caplog.clear()
        with caplog.at_level(logging.INFO, "qhead"):
            read = load_texts(path).labels
        assert read.tolist() == expected, path
        assert read.dtype.kind == ("i" if isinstance(expected[0], int) else "U")
        changed = isinstance(labels[0], float) or labels[0] == "TRUE"
        changed |= isinstance(labels[0], bool) and path.suffix != ".csv"
        assert ("is read as" in caplog.text) == changed, path


def test_numbers_that_are_not_whole_are_no_classes_in_any_format(tmp_path: Path) -> None:
    for path in write_tables(tmp_path, [1.0, 0.5]):
        with pytest.raises(DataError, match=r"(line|row) \d: .*got the number 0\.5"):
            load_texts(path)


def test_labels_of_a_part_find_the_classes_of_the_whole() -> None:
    part = LabelledTexts(("a", "b"), np.array([1, 2]), "part")
    classes = np.array(["1.0", "2.0", "other"])
    assert align_labels(part, classes).labels.tolist() == ["1.0", "2.0"]
    with pytest.raises(DataError, match=r"index 1: .*got 1 other.*: 2"):
        align_labels(part, np.array(["1.0", "other"]))


@pytest.mark.parametrize("spelled", ["nan", "NaN", "null", "None", "N/A", "<NA>"])
def test_a_label_like_a_missing_value_is_remarked(tmp_path: Path, spelled: str) -> None:
    data = load_texts(write(tmp_path, "a.csv", f"text,label\nfine,good\npoor,{spelled}\n"))
    (remark,) = missing_values(data)
    assert f"'{spelled}'" in remark
    assert "1 of 2 sentences, the first at" in remark
    assert "line 3" in remark
    assert missing_values(load_texts("demo:reviews")) == []


def test_a_class_of_one_sentence_is_trained_and_said_to_be_unscored(tmp_path: Path) -> None:
    labels = ["pos"] * 30 + ["neu"] * 30 + ["neg"]
    lines = [f"sentence {index},{label}" for index, label in enumerate(labels)]
    path = write(tmp_path, "rare.csv", "\n".join(["text,label", *lines]))
    parts = load_parts(str(path), test_fraction=0.2)
    assert (parts.train.labels == "neg").sum() == 1
    remarks = [each for each in parts.remarks if "no sentence of 'neg'" in each]
    assert [each.split()[1] for each in remarks] == ["validation", "test"]
    assert all(each.endswith("kept for training.") for each in remarks)


@pytest.mark.parametrize("word", ["dev", "val", "valid", "eval", "Evaluation", "validation"])
def test_every_word_for_the_validation_set_names_it(tmp_path: Path, word: str) -> None:
    write(tmp_path, "train.csv", "text,label\na,1\n")
    write(tmp_path, f"{word}.csv", "text,label\nb,0\n")
    assert load_splits(tmp_path)["validation"].texts == ("b",)
    for asked in (word, "dev", "validation"):
        assert load_texts(tmp_path, split=asked).texts == ("b",)
        assert load_split(str(tmp_path), asked, (None, None)).texts == ("b",)
    with pytest.raises(DataError, match="no split 'unseen'"):
        load_split(str(tmp_path), "unseen", (None, None))


def test_files_beside_the_splits_are_named(tmp_path: Path, caplog) -> None:
    for name in ("train.csv", "test.csv", "holdout.csv", "my_train.tsv", "README.md"):
        write(tmp_path, name, "text,label\na,1\n")
    with caplog.at_level(logging.INFO, "qhead"):
        assert list(load_splits(tmp_path)) == ["train", "test"]
    assert caplog.text.count("ignored 'holdout.csv', 'my_train.tsv', whose") == 1
    assert "README" not in caplog.text


def test_a_validation_set_that_cannot_be_held_out_is_remarked(tmp_path: Path) -> None:
    path = write(tmp_path, "two.csv", "text,label\na,x\nb,y\n")
    parts = load_parts(str(path))
    assert parts.validation is None
    assert list(parts.remarks) == [
        "No validation set: every class has a single sentence, which is kept for training."
    ]
    assert load_parts(str(path), validation_fraction=0.0).remarks == ()
