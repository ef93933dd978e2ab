# Two commands: `make run` installs and shows the demo, `make test` runs every check.

PYTHON ?= python3
VENV   := .venv
STAMP  := $(VENV)/.installed
TORCH  := $(shell grep '^torch==' constraints.txt)

.PHONY: run test slow seeds mutants install clean

run: install
	$(VENV)/bin/qhead demo

test: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest -q -m "not slow" -n auto --dist loadfile
	$(VENV)/bin/python -m pytest -q -m sampled --seeds 3 -n auto tests/hardware/test_mitigation.py \
		tests/qhead/test_classifier.py tests/qhead/test_simulator_primitives.py

# The long soaks and the exhaustive packings; `make test` runs them in a reduced form.
slow: install
	$(VENV)/bin/python -m pytest -q -m slow --timeout 1200

# Every test that draws, with 200 seeds each: hours. `make test` runs a few tests with three.
seeds: install
	$(VENV)/bin/python -m pytest -q -m sampled --seeds 200 --timeout 1200

# Small changes that the tests must notice, of all that spends, counts or estimates: an hour or two.
mutants: install
	$(VENV)/bin/python scripts/mutants.py

install: $(STAMP)

# The stamp is written last: an installation cut short is begun again.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Expected Python 3.11 or newer, got $$($(PYTHON) --version 2>&1):" \
		"name another one, as in 'make run PYTHON=python3.12'." >&2; exit 2; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -c constraints.txt $(TORCH)
	$(VENV)/bin/python -m pip install -c constraints.txt -e '.[dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
