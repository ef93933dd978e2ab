import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from qiskit.circuit import QuantumCircuit

from hardware.words import counted
from qhead.circuits import reuploading_circuit
from qhead.errors import InputError, ModelError
from qhead.evaluation import Evaluation
from qhead.report import figures
from qhead.report.page import Emulation, Fact, Page, Row, Section, is_report, render, write
from qhead.saving.records import read_metrics
from qhead.training import EpochRecord

matplotlib.use("agg")

EVALUATION = Evaluation(
    accuracy=0.75,
    accuracy_interval=(0.6, 0.85),
    n=40,
    target="shots:64",
    f1=0.74,
    classes=("a<b", "c&d"),
    confusion=((18, 2), (8, 12)),
    calibration_error=0.05,
    brier=0.3,
    undecided=3,
)
HISTORY = [EpochRecord(e, 1 / e, 1.1 / e, 0.5 + e / 20, 0.1, 0.01) for e in range(1, 9)]


def pictures(markup):
    """Return the SVG elements of a figure: the wide one, then the narrow one if there is one."""
    return re.findall(r"<svg.*?</svg>", markup, re.DOTALL)


def page(**changes):
    row = Row("<script>alert(1)</script>", EVALUATION, 341, 1.234, 5.6, subject=True)
    scores = [figures.Score("quantum", 0.75, (0.6, 0.85), True)]
    whole = Page(
        title="A <title> & more",
        summary="In short.",
        key_figures=[Fact("qubits", "4", "of 156")],
        rows=[row],
        rows_caption="A caption.",
        accuracies=figures.accuracies(scores, chance=0.5),
        curves=figures.training_curves({"quantum": HISTORY, "mlp": HISTORY[:4]}, 5),
        confusions=[("shots:64", EVALUATION)],
        sections=[Section("A <section>", ["One & two."], "", ["<a>"], [["<b>"]], "Of <c>.")],
        circuit=figures.circuit(reuploading_circuit(2, 0, 1, 1)),
        circuit_caption="A circuit.",
        emulations=[Emulation("shots:64", ("Left out: <everything>.",))],
        facts=[Fact("seed", "0")],
    )
    return dataclasses.replace(whole, **changes)


class Balanced(HTMLParser):
    """Fail where a tag is closed that is not the innermost open one."""

    VOID = ("meta", "br", "link")

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attributes:
            assert name not in ("src", "action"), (tag, name)
            assert not name.startswith("on"), (tag, name)
            if name.endswith("href"):
                assert value.startswith("#"), value

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(html):
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    return parser.seen


def test_the_page_is_whole_and_refers_to_nothing_outside():
    html = render(page())
    tags = parsed(html)
    assert {"svg", "table", "dl"} <= tags
    assert not {"script", "img", "link", "iframe", "object"} & tags
    # the only addresses are the names of the SVG's own vocabulary
    assert set(re.findall(r"https?://[^\"' ]+", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "@import" not in html
    assert all(url.startswith("#") for url in re.findall(r"url\(([^)]*)\)", html))


def test_what_the_page_says_is_escaped():
    html = render(page())
    assert "&lt;script&gt;alert(1)" in html
    assert "a&lt;b" in html
    assert "Left out: &lt;everything&gt;." in html
    for text in ("A &lt;section&gt;", "One &amp; two.", "&lt;a&gt;", "&lt;b&gt;", "Of &lt;c&gt;."):
        assert text in html


def test_the_table_has_the_numbers():
    html = render(page())
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))
    for number in ("75.0", "60.0 – 85.0", "341", "0.740", "0.050", "1.23", "5.60"):
        assert number in text, number
    assert [int(n) for n in re.findall(r'class="cell"[^>]*>(\d+)<', html)] == [18, 2, 8, 12]
    assert re.findall(r"--share: (\d+)", html) == ["90", "10", "40", "60"]


def test_empty_parts_are_left_out():
    html = render(Page(title="t", summary="s"))
    parsed(html)
    assert "<h2>" not in html


def test_figures_are_svg_with_ids_of_their_own_and_the_page_s_colours():
    whole = page()
    drawn = pictures(whole.accuracies + whole.curves + whole.circuit.svg)
    assert len(drawn) == 5  # accuracies and curves are drawn for wide and for narrow pages
    ids = []
    for svg in drawn:
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("svg")
        assert "viewBox" in root.attrib
        assert "width" not in root.attrib
        assert "currentColor" in svg
        assert "#01020" not in svg
        ids.append(set(re.findall(r'<clipPath id="([^"]*)"', svg)))
        for used in re.findall(r"url\(#([^)]*)\)", svg):
            assert used in ids[-1]
    assert len(set().union(*ids)) == sum(map(len, ids))
    assert whole.accuracies == page().accuracies  # the same figure, the same text
    assert pyplot.get_fignums() == []


def test_a_point_stands_where_its_accuracy_is():
    # Two scores on one axis: distances in the picture are as those of the numbers.
    scores = [figures.Score(str(a), a, (a - 0.05, a + 0.05), True) for a in (0.6, 0.7, 0.9)]
    for svg in pictures(figures.accuracies(scores, chance=0.5)):
        places = [float(x) for x in re.findall(r'<use [^>]*x="([\d.]+)"[^>]*fill: #7a5cff', svg)]
        assert len(places) == 3
        gaps = np.diff(sorted(places))
        assert gaps[1] / gaps[0] == pytest.approx(2, rel=1e-3)


def test_long_circuits_are_cut_and_say_so(monkeypatch):
    monkeypatch.setattr(figures, "MAX_DRAWN_GATES", 10)
    circuit = reuploading_circuit(3, 1, 1, 1)
    drawing = figures.circuit(circuit)
    assert (drawing.drawn, drawing.total) == (10, circuit.size())
    assert f"The first 10 of {circuit.size()} gates." in render(page(circuit=drawing))


def test_histories_without_a_validation_set():
    records = [EpochRecord(e, 1 / e, None, None, 0.1, 0.01) for e in (1, 2)]
    for svg in pictures(figures.training_curves({"q": records}, None)):
        assert ElementTree.fromstring(svg).attrib["role"] == "img"


def test_writing_and_recognising(tmp_path):
    path = tmp_path / "new" / "r.html"
    write(page(), path)
    assert path.read_text() == render(page())
    assert is_report(path)
    (tmp_path / "x.html").write_text("<html></html>")
    assert not is_report(tmp_path / "x.html")
    assert not is_report(tmp_path)
    with pytest.raises(InputError):
        write(page(), tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"accuracy": "high"},
        {"confusion": [[1, 2]]},
        {"confusion": [["<b>", 2], [3, 4]]},
        {"accuracy_interval": [0.1]},
        {"nonsense": 1},
        {"classes": 3},
    ],
)
def test_scores_of_a_model_are_checked(change):
    scores = EVALUATION.as_dict()
    assert read_metrics({"test": scores})["test"].accuracy == 0.75
    with pytest.raises(ModelError, match=r"metrics\.json"):
        read_metrics({"test": scores | change})


def test_the_names_of_a_circuit_s_angles_can_be_read():
    svg = figures.circuit(reuploading_circuit(4, 1, 3, 3)).svg
    _, _, width, _ = map(float, re.search(r'viewBox="([^"]*)"', svg)[1].split())
    sizes = re.findall(r"size: ([\d.]+)px[^>]*>u\[1\]<", svg)
    shown = min(map(float, sizes)) * 1020 / width  # CSS pixels at the page's full width
    assert shown >= 10


def test_figures_say_in_words_what_they_show():
    whole = page()
    labels = [
        ElementTree.fromstring(pictures(each)[0]).attrib
        for each in (whole.accuracies, whole.curves, whole.circuit.svg)
    ]
    assert [each["role"] for each in labels] == ["img"] * 3
    accuracies, curves, circuit = (each["aria-label"] for each in labels)
    assert "quantum 75.0 % (60.0 – 85.0 %)" in accuracies
    assert "Most frequent label: 50%" in accuracies
    assert "training loss from 1.000 to 0.125 in 8 epochs" in curves
    assert "best after epoch 5" in curves
    assert "mlp: validation accuracy 70.0 % at the end" in curves
    assert "Circuit of 2 qubits" in circuit
    assert "ry gates" in circuit
    odd = figures.accuracies([figures.Score('a "<b>" & c', 0.5, (0.4, 0.6), True)], chance=0.5)
    for svg in pictures(odd):
        assert 'a "<b>" & c 50.0 %' in ElementTree.fromstring(svg).attrib["aria-label"]


def test_on_a_narrow_screen_every_point_is_seen_without_scrolling():
    name = "quantum · noisy:0.001,0.01,0.02:1024"
    scores = [figures.Score(name, a, (a - 0.05, 1.0), True) for a in (0.6, 0.95)]
    _, svg = pictures(figures.accuracies(scores, chance=0.5))
    _, _, width, _ = map(float, re.search(r'viewBox="([^"]*)"', svg)[1].split())
    places = [float(x) for x in re.findall(r'<use [^>]*x="([\d.]+)"[^>]*fill: #7a5cff', svg)]
    assert min(places) < 0.45 * width  # the names stand above and take no room beside
    sizes = map(float, re.findall(r"(?:font|size): ([\d.]+)px", svg))
    assert min(sizes) * 325 / width >= 9  # CSS pixels in a board on a page of 390
    style = render(page())
    assert not re.search(r"figure svg \{[^}]*min-width", style)
    assert re.search(r"max-width: 44rem\) \{\s*\.wide \{ display: none", style)
    assert re.search(r"\.board \{[^}]*overflow-x: auto", style)  # for the circuit
    heads = re.findall(r"<th[^>]*>([^<]*)</th>", style)
    assert heads[:4] == ["head", "target", "accuracy %", "95 % interval"]
    assert 'hint">The table scrolls sideways.' in style
    assert 'hint">The drawing scrolls sideways.' in style


def test_matrices_of_many_classes_are_narrow_and_say_where_they_scroll():
    def shown(number):
        classes = tuple(f"class {k}" for k in range(number))
        counts = tuple((1,) * number for _ in classes)
        scores = dataclasses.replace(EVALUATION, classes=classes, confusion=counts)
        return render(page(confusions=[("exact", scores)]))

    few, twenty, fifty = shown(3), shown(20), shown(50)
    assert 'class="many"' not in few
    assert "Wide tables" not in few
    assert 'class="many"' in twenty
    assert 'hint">Wide tables scroll' in twenty
    assert 'hint always">Wide tables scroll' in fifty
    assert re.search(r"\.many thead th \{ writing-mode: vertical-rl", twenty)


@pytest.mark.parametrize("accuracies", [[0.0556, 0.0556], [0.0, 0.0], [1.0, 1.0], [0.5, 0.51, 0.9]])
def test_no_two_ticks_of_an_axis_read_alike(accuracies):
    records = [EpochRecord(e, 1 / e, 1 / e, a, 0.1, 0.01) for e, a in enumerate(accuracies, 1)]
    for svg in pictures(figures.training_curves({"q": records}, None)):
        ticks = re.findall(r">([-\d.]+) %</text>", svg)
        assert len(ticks) >= 3
        assert len(set(ticks)) == len(ticks)
        assert all(0 <= float(tick) <= 100 for tick in ticks)


def test_one_thing_is_not_plural():
    assert [counted(n, "epoch") for n in (0, 1, 2, 1024)] == [
        "0 epochs", "1 epoch", "2 epochs", "1,024 epochs",
    ]  # fmt: skip
    curves = figures.training_curves({"q": HISTORY[:1]}, 1)
    assert "in 1 epoch," in curves
    one = QuantumCircuit(1)
    one.rx(0.1, 0)
    circuit = figures.circuit(one).svg
    assert "Circuit of 1 qubit: 1 rx gate." in circuit
    for words in ("1 epochs", "1 qubits", "1 sentences"):
        assert not re.search(rf"\b{words}", curves + circuit)


def test_matrices_have_their_names_above():
    style = render(Page(title="t", summary="s"))
    assert re.search(r"\.matrices caption \{ caption-side: top", style)
