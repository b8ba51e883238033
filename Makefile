# Each target first creates .venv and installs the package, if that has not been done.
#
# make train ARGS="algo=ppo env=cartpole"   train
# make test                                 run the tests (short form of the reliability tests)
# make lint                                 check format, lint and types
# make check                                lint and test, as CI does
# make bars                                 long form of the reliability tests (about an hour)
# make docs                                 build the documentation as a site in site/
# make format                               format the code and fix what ruff can fix

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
ARGS ?= algo=dqn env=mountaincar

.PHONY: train test lint check bars docs format clean

train: $(VENV)/ready
	$(BIN)/rl-train $(ARGS)

test: $(VENV)/ready-dev
	$(BIN)/python -m pytest

docs: $(VENV)/ready-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lint: $(VENV)/ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test

# Runs every case of tests/bars and of the tests that have a long form, and writes the counts that
# docs/reliability.md quotes to benchmarks/bars.txt.
bars: $(VENV)/ready-dev
	RL_CLI_BARS=full RL_CLI_BARS_FILE=benchmarks/bars.txt $(BIN)/python -m pytest -q tests/bars tests/engine/test_compiler.py tests/algos tests/test_notebooks.py

format: $(VENV)/ready-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist site

# torch is installed first, so that no other requirement selects another build of it.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) --editable .
	touch $@

$(VENV)/ready-dev: $(VENV)/ready
	$(PIP) --editable '.[dev]'
	touch $@
