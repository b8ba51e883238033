# make train ARGS="algo=ppo env=cartpole"   set up if need be, then train
# make test                                 set up if need be, then run the tests
# make bars                                 the long form of the reliability tests (an hour)
# make docs                                 build the documentation as a site in site/
# make check                                format, lint, types, tests

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
ARGS ?= algo=dqn env=mountaincar

.PHONY: train test bars docs check format clean

train: $(VENV)/ready
	$(BIN)/rl-train $(ARGS)

test: $(VENV)/ready-dev
	$(BIN)/python -m pytest

# The long form of tests/bars: every kill, flip and fault that docs/reliability.md counts; and the long tests beside it.
bars: $(VENV)/ready-dev
	RL_CLI_BARS=full RL_CLI_BARS_FILE=benchmarks/bars.txt $(BIN)/python -m pytest -q tests/bars tests/engine/test_compiler.py tests/algos/test_ppo.py tests/algos/test_reinforce.py tests/test_notebooks.py

docs: $(VENV)/ready-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

check: $(VENV)/ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

format: $(VENV)/ready-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist site

# torch goes first and alone: once 2.13.0 is there, nothing else can pull another build of it.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) --editable .
	touch $@

$(VENV)/ready-dev: $(VENV)/ready
	$(PIP) --editable '.[dev]'
	touch $@
