"""The house stands as DESIGN says: who may import whom, and what nobody may do."""

import ast
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import hardware
import qhead

ROOTS = {package.__name__: Path(package.__file__).parent for package in (hardware, qhead)}

# From the ground up. A module imports only from rooms before its own; a new room needs its place.
ROOMS = (
    "errors", "checks", "files", "checkpoints", "training_options", "training", "progress",
    "demo", "hub", "data", "encoder",
    "circuits", "simulator", "targets", "heads", "prediction",
    "evaluation", "saving", "predictor", "follow", "runs", "provenance", "classifier",
    "finetuning", "training_run", "report", "studies", "cli", "__main__",
)  # fmt: skip

# The same of the floor below.
WINGS = (
    "errors", "words", "folders", "importing", "threads", "checks", "vectors",
    "circuits", "workload", "gradients", "devices", "ledger", "planning", "emulation", "runs",
    "targets",
)  # fmt: skip

PUBLIC = {
    "Evaluation", "Finetuning", "FinetuningOptions", "InspiredHead", "LabelledTexts", "MLPHead",
    "Prediction", "QuantumHead", "ReducedMLPHead", "Run", "SentenceEncoder", "TextClassifier",
    "TrainingOptions", "__version__", "few_shot_split", "holdout_split", "load_splits",
    "load_texts", "make_head", "resolve_target",
}  # fmt: skip


def sources(package):
    return {path: ast.parse(path.read_text()) for path in sorted(ROOTS[package].rglob("*.py"))}


def module_name(package, path):
    parts = path.relative_to(ROOTS[package].parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree):
    """Return the modules that a file imports, inside functions and for type checkers too."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def belongs(name, package):
    return name == package or name.startswith(f"{package}.")


def test_hardware_never_imports_qhead():
    for path, tree in sources("hardware").items():
        assert not [name for name in imports(tree) if belongs(name, "qhead")], path


def test_nothing_imports_the_command_line():
    for package in ROOTS:
        for path, tree in sources(package).items():
            if path.name != "__main__.py" and "cli" not in path.parts:
                assert not [n for n in imports(tree) if belongs(n, "qhead.cli")], path


@pytest.mark.parametrize(("package", "order"), [("hardware", WINGS), ("qhead", ROOMS)])
def test_rooms_import_only_from_the_rooms_below(package, order):
    for path, tree in sources(package).items():
        name = module_name(package, path)
        if name == package:
            continue  # re-exports, by name and on demand
        room = name.split(".")[1]
        assert room in order, f"give {name} its place"
        for imported in imports(tree):
            if belongs(imported, package) and imported != package:
                other = imported.split(".")[1]
                if other == "__version__":
                    continue
                assert order.index(other) <= order.index(room), f"{name} imports {imported}"


@pytest.mark.parametrize("package", ["hardware", "qhead"])
def test_modules_have_an_order(package):
    modules = {module_name(package, path): tree for path, tree in sources(package).items()}
    graph = {
        name: {other for other in imports(tree) if other in modules} - {name}
        for name, tree in modules.items()
    }
    # A package's own __init__ may re-export what is in it, while that imports the package.
    for name, others in graph.items():
        graph[name] = {other for other in others if not name.startswith(f"{other}.")}
    TopologicalSorter(graph).prepare()  # raises CycleError


FORBIDDEN_IMPORTS = ("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal")
FORBIDDEN_CALLS = (
    "torch.load", "torch.save", "torch.manual_seed", "np.random.seed", "numpy.random.seed",
    "random.seed", "np.random.rand", "np.random.randn", "eval", "exec", "os.system",
    "np.random.choice", "np.random.shuffle", "np.random.permutation", "np.random.normal",
)  # fmt: skip


@pytest.mark.parametrize("package", ["hardware", "qhead"])
def test_nothing_is_pickled_evaluated_or_seeded_globally(package):
    for path, tree in sources(package).items():
        for name in imports(tree):
            assert not any(belongs(name, banned) for banned in FORBIDDEN_IMPORTS), (path, name)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in FORBIDDEN_CALLS, (path, node.lineno)
                options = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert options.get("allow_pickle", "False") == "False", (path, node.lineno)
                if ast.unparse(node.func) in ("np.load", "numpy.load"):
                    assert "allow_pickle" in options, (path, node.lineno)


# A thread that catches everything to raise it again in the thread that waits.
HANDS_ON = ("hardware/devices/asking.py",)
# The client may stumble over an answer in any way, and other providers' packages raise classes of
# their own; here all of it is translated.
TRANSLATES = (
    "hardware/devices/backend.py", "hardware/devices/backend_jobs.py",
    "hardware/devices/ibm/client.py", "hardware/devices/ibm/decoding.py",
    "hardware/runs/opening.py",
)  # fmt: skip


@pytest.mark.parametrize("package", ["hardware", "qhead"])
def test_no_exception_is_caught_wholesale(package):
    for path, tree in sources(package).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                caught = "" if node.type is None else ast.unparse(node.type)
                relative = path.relative_to(ROOTS[package].parent).as_posix()
                if relative not in TRANSLATES:
                    assert caught != "Exception", (path, node.lineno)
                assert caught, (path, node.lineno)
                if caught == "BaseException" and relative not in HANDS_ON:
                    # only to tidy up and pass it on
                    assert ast.unparse(node.body[-1]) == "raise", (path, node.lineno)


def test_public_names():
    assert set(qhead.__all__) == PUBLIC
    assert set(dir(qhead)) == PUBLIC
    for name in PUBLIC:
        assert getattr(qhead, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = qhead.nonsense


def test_the_version_is_the_project_s():
    project = tomllib.loads((ROOTS["qhead"].parent / "pyproject.toml").read_text())["project"]
    assert qhead.__version__ == project["version"]


def test_importing_is_light():
    code = (
        "import sys, qhead, hardware, qhead.cli\n"
        "heavy = ('torch', 'qiskit', 'sklearn', 'numpy', 'scipy', 'matplotlib', 'pandas',"
        " 'sentence_transformers', 'numba')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == "[]\n"
