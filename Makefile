# make demo: the experiments on the bundled checkpoint.  make test: the tests.  Both set up .venv first.
# make screenshots: pictures of the newest reports.
# make test-slow: simulations and long calibrations, which CI runs too.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
CONSTRAINTS ?= constraints.txt
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)
RESULTS ?= results
SCREENSHOTS ?= results/screenshots

.PHONY: demo screenshots test test-slow bench bench-real lint clean

$(STAMP): pyproject.toml setup.py $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $(STAMP)

# Tests make checkpoints with the trainers people use; running experiments needs none of that.
$(DEV_STAMP): $(STAMP)
	$(PIP) -e '.[dev]'
	touch $(DEV_STAMP)

demo: $(STAMP)
	$(BIN)/pytest experiments/ -n 2 --entropy-results $(RESULTS)
	@$(BIN)/python -m pytest_entropy where $(RESULTS)

# Of the newest report of each experiment, at a phone's and a desktop's width, light and dark; needs a Chromium.
screenshots: $(STAMP)
	$(BIN)/python -m tools.screenshots $(RESULTS) $(SCREENSHOTS)

test: $(DEV_STAMP)
	$(BIN)/pytest tests -n 2 --dist worksteal

test-slow: $(DEV_STAMP)
	$(BIN)/pytest tests -n 2 --dist worksteal -m slow

bench: $(DEV_STAMP)
	$(BIN)/python -m benchmarks.run

bench-real: $(DEV_STAMP)
	$(BIN)/python -m benchmarks.real_size
	$(BIN)/python -m benchmarks.memory_table

lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
