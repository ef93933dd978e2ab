"""Loading labelled sentences: what is read, and which file and line an error names."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qhead.data import (
    MAX_CHARACTERS,
    LabelledTexts,
    concatenate,
    contradictions,
    duplicates_across,
    few_shot_split,
    holdout_split,
    imbalance,
    load_splits,
    load_texts,
    load_unlabelled,
)
from qhead.errors import DataError
from qhead.heads.base import held_out

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("QHEAD_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
needs_shared = pytest.mark.skipif(
    not (SHARED / "sst2").is_dir(), reason=f"no development data at {SHARED} (QHEAD_SHARED_DATA)"
)

TEXTS = ("A lovely, quiet place.", 'He said "never again".', "Two\nlines", "Crème brûlée, naïve 🍮")
LABELS = ("good", "bad", "bad", "good")


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_csv(folder: Path) -> Path:
    rows = ['"' + text.replace('"', '""') + '"' for text in TEXTS]
    lines = [f"{label},{row}" for row, label in zip(rows, LABELS, strict=True)]
    return write(folder, "data.csv", "\r\n".join(["label,text", *lines]) + "\r\n")


def write_jsonl(folder: Path) -> Path:
    items = [{"text": t, "label": c, "n": 1} for t, c in zip(TEXTS, LABELS, strict=True)]
    return write(folder, "data.jsonl", "\n".join(map(json.dumps, items)))


def write_parquet(folder: Path) -> Path:
    path = folder / "data.parquet"
    pq.write_table(pa.table({"label": LABELS, "text": TEXTS, "picture": [[0.5]] * 4}), path)
    return path


@pytest.mark.parametrize("writer", [write_csv, write_jsonl, write_parquet])
def test_every_format_gives_the_same_data(tmp_path: Path, writer) -> None:
    data = load_texts(writer(tmp_path))
    assert data.texts == TEXTS
    assert data.labels.tolist() == list(LABELS)
    assert data.classes.tolist() == ["bad", "good"]
    assert data.fingerprint == LabelledTexts(TEXTS, np.array(LABELS), "elsewhere").fingerprint


def test_tsv_takes_quotes_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path, "data.tsv", '\ufefftext\tlabel\n"Hm", he said\t1\nSo-so"\t0\n\n')
    data = load_texts(path)
    assert data.texts == ('"Hm", he said', 'So-so"')
    assert data.labels.dtype == np.int64
    assert data.labels.tolist() == [1, 0]
    assert data.positions is not None
    assert data.positions.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        (["1", "0", "-3"], np.array([1, 0, -3])),
        (["1.0", "0.0", "-0.0"], np.array([1, 0, 0])),
        (["1.5", "x"], np.array(["1.5", "x"])),
        (["1", "x"], np.array(["1", "x"])),
        (["01", "1"], np.array(["01", "1"])),
        (["9" * 20, "1"], np.array(["9" * 20, "1"])),
    ],
)
def test_labels_are_integers_only_if_all_are(tmp_path: Path, spelled, expected) -> None:
    content = "text,label\n" + "".join(f"a sentence,{label}\n" for label in spelled)
    labels = load_texts(write(tmp_path, "data.csv", content)).labels
    assert labels.dtype.kind == expected.dtype.kind
    assert labels.tolist() == expected.tolist()


def test_columns_are_found_by_usual_names_or_by_the_name_given(tmp_path: Path) -> None:
    path = write(tmp_path, "data.csv", "id,question,target,note\n1,Why?,a,x\n2,How?,b,y\n")
    assert load_texts(path).texts == ("Why?", "How?")
    assert load_texts(path, label_column="note").labels.tolist() == ["x", "y"]
    with pytest.raises(DataError, match=r"line 1: .*'id', 'question'.*Did you mean 'question'"):
        load_texts(path, text_column="questions")
    with pytest.raises(DataError, match="two columns"):
        load_texts(path, text_column="note", label_column="note")


GOOD = "text,label\nfine,1\n"
BAD_FILES = {
    "empty": ("a.csv", "", r"a\.csv: the file is empty"),
    "only blank lines": ("a.csv", "\n\n", "nothing but line breaks"),
    "header only": ("a.csv", "text,label\n", "column names but no rows"),
    "wrong columns": ("a.csv", "words,mark\nfine,1\n", r"line 1: .*text column.*'words', 'mark'"),
    "nearly right": ("a.csv", "txet,label\nfine,1\n", r"Did you mean 'txet'"),
    "no header": ("a.csv", "fine film,1\n", "the first line of a CSV or TSV file holds the names"),
    "same column twice": ("a.csv", "text,text,label\na,b,1\n", "occurs twice"),
    "too many fields": ("a.csv", GOOD + "yes, fine,1\n", r"line 3: expected 2 fields.*got 3"),
    "too few fields": ("a.csv", GOOD + "fine\n", r"line 3: expected 2 fields.*got 1"),
    "empty line": ("a.csv", GOOD + "\nfine,0\n", r"line 3: the text is empty"),
    "after a long record": (
        "a.csv",
        'text,label\n"one\ntwo\nthree",1\n"four\n\nfive",0\n,1\n',
        r"line 8: the text is empty",
    ),
    "quote left open": ("a.csv", GOOD + '"fine,1\nfine,0\n', r"line 3: .*quote"),
    "text after a quote": ("a.csv", GOOD + '"fine" indeed,1\n', r"line 3: .*quote"),
    "blank text": ("a.csv", GOOD + "  ,1\n", r"line 3: the text is empty"),
    "empty label": ("a.csv", GOOD + "fine,\n", r"line 3: the label is empty"),
    "space around label": ("a.csv", GOOD + "fine, 1\n", r"line 3: the label ' 1' begins"),
    "endless text": ("a.csv", GOOD + "a" * 100_000 + ",1\n", r"line 3: .*20,000.*100,000"),
    "not UTF-8": ("a.csv", GOOD.encode() + b"caf\xe9,1\n", r"line 3: .*0xe9 at offset 21"),
    "UTF-16": ("a.csv", GOOD.encode("utf-16"), r"line 1: .*offset 0.*UTF-16"),
    "NUL": ("a.csv", GOOD.encode() + b"fi\0ne,1\n", r"line 3: NUL byte at offset 20"),
    "suffix": ("a.xlsx", GOOD, r"\.csv, \.tsv, \.jsonl, \.json, \.parquet .*got '\.xlsx'"),
    "tab in TSV": ("a.tsv", "text\tlabel\na\tb\t1\n", r"line 2: expected 2 fields.*got 3"),
    "broken JSON": ("a.jsonl", '{"text": "a", "label": 1}\n{"text": ', r"line 2: .*column"),
    "JSON list": ("a.jsonl", "[1]", r"line 1: expected a JSON object, got list"),
    "missing key": (
        "a.jsonl",
        '{"text": "a", "label": 1}\n{"text": "b"}',
        r"line 2: expected the field 'label'",
    ),
    "key twice": ("a.jsonl", '{"text": "a", "text": "b", "label": 1}', r"line 1: a key.*twice"),
    "fraction": ("a.jsonl", '{"text": "a", "label": 1.5}', r"line 1: .*integer.*number 1\.5"),
    "fraction in CSV": ("a.csv", GOOD + "fine,0.5\n", r"line 3: .*integer.*number 0\.5"),
    "NaN": ("a.jsonl", '{"text": "a", "label": NaN}', r"line 1: the label is NaN"),
    "infinite": ("a.jsonl", '{"text": "a", "label": Infinity}', r"line 1: .*number inf"),
    "mixed kinds": (
        "a.jsonl",
        '{"text": "a", "label": true}\n{"text": "b", "label": 1}',
        r"bool True .*line 1.* int 1 .*line 2",
    ),
    "list as label": ("a.jsonl", '{"text": "a", "label": [1]}', r"line 1: .*integer.*list"),
    "null label": ("a.jsonl", '{"text": "a", "label": null}', r"line 1: the label is empty"),
    "number as text": ("a.jsonl", '{"text": 5, "label": 1}', r"line 1: expected a sentence.*int"),
    "surrogate": ("a.jsonl", '{"text": "a\\ud800", "label": 1}', r"line 1: character 2.*surrogate"),
    "escaped NUL": ("a.jsonl", '{"text": "a\\u0000", "label": 1}', r"line 1: .*NUL"),
    "two empty texts": (
        "a.csv",
        GOOD + ",1\n\nfine,0\n ,0\n",
        r"lines 3–4, 6: 3 texts are empty.*skip_empty",
    ),
    "blank lines in JSONL": (
        "a.jsonl",
        '\n{"text": "a", "label": 1}\n\n{"text": "", "label": 1}\n\n',
        r"lines 1, 3–4: 3 texts are empty",
    ),
    "blank line before the names": ("a.csv", "\n" + GOOD, r"line 1: the line is empty"),
    "damaged gzip": ("a.csv.gz", gzip.compress(GOOD.encode())[:-9], r"gzipped file is damaged"),
    "no gzip": ("a.csv.gz", GOOD, r"gzipped file is damaged"),
    "zipped spreadsheet": ("a.xlsx.gz", gzip.compress(b"x"), r"\.csv\.gz and so on.*'\.gz'"),
    "semicolon unquoted": ("a.csv", "text;label\na;b;1\n", r"holds a semicolon in"),
    "broken JSON file": ("a.json", '[{"text": "a",\n "label": }]', r"line 2: not JSON"),
    "JSON number": ("a.json", "5", r"an array of objects.*got int"),
    "JSON record": ("a.json", '{"text": "a", "label": 1}', r"column 'text' is a single str"),
    "ragged columns": ("a.json", '{"text": ["a"], "label": [1, 2]}', r"have different rows"),
    "missing key in JSON": (
        "a.json",
        '[{"text": "a", "label": 1}, {"text": "b"}]',
        r"row 2: expected the field 'label'",
    ),
    "not Parquet": ("a.parquet", GOOD, r"a\.parquet: cannot be read as Parquet"),
}


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_an_error_that_names_the_line(tmp_path, name, content, message) -> None:
    with pytest.raises(DataError, match=message):
        load_texts(write(tmp_path, name, content))


def test_bad_parquet_rows_are_named(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"text": ["a", None], "label": [1, 2]}), path)
    with pytest.raises(DataError, match=r"row 2: the text is empty"):
        load_texts(path)
    pq.write_table(pa.table({"text": ["a", "b"], "label": [1.0, 2.5]}), path)
    with pytest.raises(DataError, match=r"row 2: .*integer.*number 2\.5"):
        load_texts(path)


def test_missing_sources_say_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_texts(tmp_path / "nothing.csv")
    write(tmp_path, "notes.txt", "x")
    with pytest.raises(DataError, match=r"files named train.*'notes\.txt'"):
        load_texts(tmp_path)
    with pytest.raises(DataError, match=r"Did you mean 'demo:reviews'"):
        load_texts("demo:review")


def test_the_limit_on_a_text_can_be_raised(tmp_path: Path) -> None:
    path = write(tmp_path, "data.csv", f"text,label\n{'a' * (MAX_CHARACTERS + 1)},1\n")
    with pytest.raises(DataError, match="at most 20,000 characters"):
        load_texts(path)
    assert len(load_texts(path, max_characters=30_000).texts[0]) == MAX_CHARACTERS + 1


def test_a_folder_of_splits(tmp_path: Path) -> None:
    write(tmp_path, "train-00000-of-00002.csv", "text,label\na,1\n")
    write(tmp_path, "train-00001-of-00002.csv", "text,label\nb,0\n")
    write(tmp_path, "dev.jsonl", '{"sentence": "c", "label": 1}')
    write(tmp_path, "README.md", "x")
    splits = load_splits(tmp_path)
    assert {name: data.texts for name, data in splits.items()} == {
        "train": ("a", "b"),
        "validation": ("c",),
    }
    assert load_texts(tmp_path, split="validation").texts == ("c",)
    with pytest.raises(DataError, match="'train', 'validation'"):
        load_texts(tmp_path)
    with pytest.raises(DataError, match=r"got 'test'"):
        load_texts(tmp_path, split="test")
    write(tmp_path, "test.csv", "text,label\nd,x\n")
    with pytest.raises(DataError, match="labels of one kind"):
        load_splits(tmp_path)
    (tmp_path / "train-00000-of-00002.csv").unlink()
    with pytest.raises(DataError, match="complete set of shards"):
        load_splits(tmp_path)


def test_a_hub_data_set_is_read_from_the_clients_own_cache(tmp_path: Path) -> None:
    """The layout is the one that the Hub's client keeps; in a process of its own, offline."""
    commit = hashlib.sha1(b"commit").hexdigest()
    repo = tmp_path / "datasets--owner--moods"
    folder = repo / "snapshots" / commit / "data"
    folder.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    pq.write_table(
        pa.table({"text": ["a", "b"], "label": [0, 1]}), folder / "train-00000-of-00001.parquet"
    )
    write(folder, "test.tsv", "text\tlabel\nc\t1\n")
    code = (
        "from qhead.data import load_splits\n"
        "from qhead.errors import DataError\n"
        "print({name: data.texts for name, data in load_splits('owner/moods').items()})\n"
        "try:\n    load_splits('owner/other')\n"
        "except DataError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    first, second = run.stdout.splitlines()
    assert first == "{'train': ('a', 'b'), 'test': ('c',)}"
    assert "'owner/other' is not a file or folder on this machine" in second
    assert "fetching it as a dataset" in second


def test_unlabelled_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_unlabelled(write_csv(tmp_path)) == TEXTS
    assert load_unlabelled(write(tmp_path, "a.txt", 'one\r\ntwo, "three"\n')) == (
        "one",
        'two, "three"',
    )
    assert load_unlabelled(io.StringIO("one\ntwo")) == ("one", "two")
    assert load_unlabelled(io.BytesIO("naïve\n".encode())) == ("naïve",)
    standard_input = io.TextIOWrapper(io.BytesIO("crème\n".encode()))
    monkeypatch.setattr(sys, "stdin", standard_input)
    assert load_unlabelled("-") == ("crème",)
    with pytest.raises(DataError, match=r"line 2: the text is empty"):
        load_unlabelled(io.StringIO("one\n\ntwo\n"))
    for nothing in (b"", b"\n", b" \n\r\n"):
        with pytest.raises(DataError, match="is empty"):
            load_unlabelled(io.BytesIO(nothing))
    with pytest.raises(DataError, match=r"lines 1, 3–4: 3 texts are empty"):
        load_unlabelled(io.StringIO("\none\n\n  \ntwo\n"))
    with pytest.raises(DataError, match=r"line 2: .*0xff at offset 4"):
        load_unlabelled(io.BytesIO(b"one\n\xff\n"))
    with pytest.raises(DataError, match=r"'\.pdf'"):
        load_unlabelled(write(tmp_path, "a.pdf", "x"))
    with pytest.raises(DataError, match="does not exist"):
        load_unlabelled(tmp_path / "nothing")


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n", "\n  \n\r\n"])
def test_the_end_of_a_pipe_is_no_sentence(end: str) -> None:
    assert load_unlabelled(io.BytesIO(b"one\ntwo" + end.encode())) == ("one", "two")


SAME = {
    "a.csv.gz": gzip.compress(b"text,label\na,1\nb,0\n"),
    "a.TSV.GZ": gzip.compress(b"text\tlabel\na\t1\nb\t0\n"),
    "a.jsonl.gz": gzip.compress(b'{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n'),
    "a.json.gz": gzip.compress(b'[{"text": "a", "label": 1}, {"text": "b", "label": 0}]'),
    "array.json": '[{"text": "a", "label": 1}, {"label": 0, "text": "b"}]',
    "columns.json": '{"text": ["a", "b"], "label": [1, 0], "note": "x"}',
    "pandas.json": '{"text": {"0": "a", "1": "b"}, "label": {"0": 1, "1": 0}}',
    "lines.json": '{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n',
    "semicolon.csv": "text;label\na;1\nb;0\n",
    "comma in a name.csv": "text;label, or not;label\na;x;1\nb;x;0\n",
    "sentiment.csv": "text,sentiment\na,1\nb,0\n",
    "stars.csv": "review;stars\na;1\nb;0\n",
}


@pytest.mark.parametrize("name", SAME)
def test_formats_and_names_of_columns(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, SAME[name])
    data = load_texts(path)
    assert data.texts == ("a", "b")
    assert data.labels.tolist() == [1, 0]
    assert load_unlabelled(path) == ("a", "b")


def test_gzipped_plain_text_and_splits(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt.gz", gzip.compress(b"one\ntwo\n\n"))
    assert load_unlabelled(path) == ("one", "two")
    folder = tmp_path / "splits"
    folder.mkdir()
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test"):
        write(folder, f"{name}.csv.gz", gzip.compress(f"text,label\n{name},1\n".encode()))
    splits = load_splits(folder)
    assert {name: len(data) for name, data in splits.items()} == {"train": 2, "test": 1}


def test_empty_texts_are_left_out_with_a_count(tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO", "qhead.data")
    path = write(tmp_path, "a.csv", "text,label\na,1\n ,\n\nb,0\n")
    data = load_texts(path, skip_empty=True)
    assert (data.texts, data.labels.tolist()) == (("a", "b"), [1, 0])
    assert data.place(1).endswith("line 5")
    assert caplog.messages == [f"Left out 2 of 4 texts of {path}, which are empty: lines 3–4."]
    assert load_unlabelled(io.StringIO("a\n\nb"), skip_empty=True) == ("a", "b")
    with pytest.raises(DataError, match="all 2 texts are empty"):
        load_unlabelled(write(tmp_path, "b.csv", "text,id\n,1\n,2\n"), skip_empty=True)


def test_contradictions_and_imbalance_are_remarked() -> None:
    texts = ("good", "Good ", "bad", "good", "fine")
    data = LabelledTexts(texts, np.array(["a", "b", "b", "a", "a"]), "x.csv", np.arange(2, 7))
    (remark,) = contradictions(data)
    assert remark.startswith("1 of 5 sentences stand there before under another label")
    assert "x.csv, line 3 ('b') as at x.csv, line 2 ('a')" in remark
    assert contradictions(data.rows([0, 2, 3, 4])) == []
    labels = np.array([0] * 70 + [1] * 3)
    many = LabelledTexts(tuple(map(str, range(73))), labels, "y")
    (remark,) = imbalance(many)
    assert "70 sentences of 0, 3 of 1" in remark
    assert "96%" in remark
    assert imbalance(many.rows(range(58, 73))) == []  # 12 : 3
    assert imbalance(many.rows(range(70))) == []  # one class


@pytest.mark.parametrize(("name", "classes", "least"), [("reviews", 2, 500), ("support", 3, 300)])
def test_the_demo_sets(name: str, classes: int, least: int) -> None:
    data = load_texts(f"demo:{name}")
    assert len(data) >= least
    assert len(data.classes) == classes
    assert data.source == f"demo:{name}"
    normal = [" ".join(text.casefold().split()) for text in data.texts]
    assert len(set(normal)) == len(normal), "a sentence stands there twice"


def test_labelled_texts_check_themselves() -> None:
    with pytest.raises(DataError, match="2 texts and 1 labels"):
        LabelledTexts(("a", "b"), np.array([1]), "x")
    with pytest.raises(DataError, match="index 1"):
        LabelledTexts(("a", " "), np.array([1, 0]), "x")
    with pytest.raises(DataError, match="float64"):
        LabelledTexts(("a", "b"), np.array([1.0, 0.0]), "x")
    data = LabelledTexts(("a", "b", "c"), np.array([1, 1, 0]), "x.csv", np.array([2, 3, 5]))
    chosen = data.rows([2, 0])
    assert chosen.texts == ("c", "a")
    assert chosen.labels.tolist() == [0, 1]
    assert chosen.place(0) == "x.csv, line 5"
    with pytest.raises(ValueError, match="read-only"):
        data.labels[0] = 7
    with pytest.raises(DataError, match="at least two classes to train on, got only 1"):
        data.rows([0, 1]).check_trainable()
    with pytest.raises(DataError, match=r"x\.csv, line 5: expected one of the labels.*got 0"):
        data.check_labels([1, 2])


def test_the_fingerprint_sees_every_change() -> None:
    def mark(*texts: str, labels=("1", "2")) -> str:
        return LabelledTexts(texts, np.array(labels), "x").fingerprint

    marks = [
        mark("ab", "c"),
        mark("a", "bc"),
        mark("c", "ab"),
        mark("ab", "c", labels=("2", "1")),
        mark("ab", "c", labels=(1, 2)),
    ]
    assert len(set(marks)) == len(marks)
    # Pinned: a fingerprint in a saved model must mean the same in the next version.
    expected = hashlib.sha256(b"str")
    for part in (b"ab", b"1", b"c", b"2"):
        expected.update(len(part).to_bytes(8, "little") + part)
    assert marks[0] == expected.hexdigest()


def test_concatenate_keeps_order_and_refuses_mixed_labels() -> None:
    one = LabelledTexts(("a",), np.array([1]), "one")
    two = LabelledTexts(("b", "c"), np.array([0, 1]), "two")
    joined = concatenate([one, two])
    assert joined.texts == ("a", "b", "c")
    assert joined.labels.tolist() == [1, 0, 1]
    assert joined.source == "one + two"
    with pytest.raises(DataError, match="one kind"):
        concatenate([one, LabelledTexts(("d",), np.array(["x"]), "three")])


def test_the_papers_protocol_counts() -> None:
    labels = np.random.default_rng(0).permutation([0] * 4650 + [1] * 4963)  # as in SST-2
    split = few_shot_split(labels, seed=3)
    assert (len(split.train), len(split.validation), len(split.test)) == (435, 77, 9101)
    together = np.concatenate([split.train, split.validation, split.test])
    assert np.array_equal(np.sort(together), np.arange(len(labels)))
    sampled = np.concatenate([split.train, split.validation])
    assert np.bincount(labels[sampled]).tolist() == [256, 256]
    assert sorted(np.bincount(labels[split.validation]).tolist()) == [38, 39]


def test_a_split_depends_on_the_seed_and_not_on_the_names_of_the_classes() -> None:
    labels = np.array([0, 1, 1, 2] * 30)
    names = np.array(["zebra", "ant", "moth"])[labels]
    for split in (
        lambda values, seed: few_shot_split(values, per_class=11, seed=seed),
        lambda values, seed: holdout_split(
            values, validation_fraction=0.17, test_fraction=0.23, seed=seed
        ),
    ):
        one, again, other = split(labels, 5), split(names, 5), split(labels, 6)
        for part in ("train", "validation", "test"):
            assert np.array_equal(getattr(one, part), getattr(again, part))
        assert not np.array_equal(one.train, other.train)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(4, 40), min_size=2, max_size=5),
    validation=st.sampled_from([0.0, 0.1, 0.25]),
    test=st.sampled_from([0.0, 0.15, 0.3]),
    seed=st.integers(0, 2**32),
)
def test_holdout_is_a_stratified_partition(sizes, validation, test, seed) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    split = holdout_split(labels, validation_fraction=validation, test_fraction=test, seed=seed)
    together = np.concatenate([split.train, split.validation, split.test])
    assert np.array_equal(np.sort(together), np.arange(len(labels)))
    for rows, fraction in ((split.validation, validation), (split.test, test)):
        for label, size in enumerate(sizes):
            count = int((labels[rows] == label).sum())
            assert abs(count - fraction * size) < 1
            assert (count > 0) == (fraction > 0)


def test_splits_refuse_what_cannot_be_split() -> None:
    with pytest.raises(DataError, match=r"at least 256 rows of each class, got 3 of 'b'"):
        few_shot_split(["a"] * 300 + ["b"] * 3, seed=0)
    with pytest.raises(DataError, match=r"only 'a'"):
        few_shot_split(["a"] * 300, seed=0)
    with pytest.raises(DataError, match="per_class"):
        few_shot_split([0, 1], per_class=0, seed=0)
    with pytest.raises(DataError, match="validation_fraction"):
        few_shot_split([0, 1] * 300, validation_fraction=1.0, seed=0)
    with pytest.raises(DataError, match="nothing is left"):
        holdout_split([0, 1] * 9, validation_fraction=0.5, test_fraction=0.5, seed=0)


def test_the_last_row_of_a_class_stays_in_training() -> None:
    labels = np.array(["a"] * 30 + ["b"] * 30 + ["one"] + ["two"] * 2 + ["three"] * 3)
    split = holdout_split(labels, validation_fraction=0.15, test_fraction=0.15, seed=0)
    parts = (split.train, split.validation, split.test)
    counts = {
        label: [int((labels[rows] == label).sum()) for rows in parts]
        for label in ("one", "two", "three")
    }
    assert counts == {"one": [1, 0, 0], "two": [1, 0, 1], "three": [1, 1, 1]}
    rare = holdout_split(labels, validation_fraction=0.15, test_fraction=0.0, seed=0)
    alone = held_out(np.unique(labels, return_inverse=True)[1], 0.15, np.random.default_rng(0))
    assert [int((labels[rows] == "one").sum()) for rows in (rare.train, rare.validation)] == [1, 0]
    # A head that holds rows back itself has as many of each class.
    for label in np.unique(labels):
        assert (labels[alone] == label).sum() == (labels[rare.validation] == label).sum()
    few = few_shot_split([0, 1, 0, 1], per_class=1, seed=0)
    assert [len(few.train), len(few.validation), len(few.test)] == [2, 0, 2]


def test_duplicates_across_a_split() -> None:
    train = ["It works.", "Fine", "it  WORKS.", "Cafe\u0301"]
    other = ["new", " it works.\n", "café", "fine!"]
    assert duplicates_across(train, other) == [(0, 1), (3, 2)]


@needs_shared
def test_sst2_merged_as_in_the_paper() -> None:
    splits = load_splits(SHARED / "sst2")
    assert {name: len(data) for name, data in splits.items()} == {
        "train": 6920,
        "validation": 872,
        "test": 1821,
    }
    merged = concatenate(list(splits.values()))
    assert merged.labels.dtype == np.int64
    assert merged.classes.tolist() == [0, 1]
    split = few_shot_split(merged.labels, seed=0)
    assert (len(split.train), len(split.validation), len(split.test)) == (435, 77, 9101)


@needs_shared
def test_trec_has_six_string_classes() -> None:
    splits = load_splits(SHARED / "trec")
    assert {name: len(data) for name, data in splits.items()} == {"train": 5452, "test": 500}
    assert len(splits["train"].classes) == 6
    assert splits["train"].labels.dtype.kind == "U"
    splits["test"].check_labels(splits["train"].classes.tolist())


@pytest.mark.parametrize("load", [load_texts, load_splits, load_unlabelled])
@pytest.mark.parametrize("source", [3, None, ["a.csv"], b"a.csv"])
def test_what_names_no_data_set_is_said(load: Any, source: object) -> None:
    with pytest.raises(DataError, match="Expected the name of a data set"):
        load(source)
