# Each target first creates .venv and installs the package, if that has not been done.
#
# make train ARGS="algo=ppo env=cartpole"   train
# make train TORCH=cpu                      the same; .venv gets torch without CUDA (Linux)
# make smoke                                train, resume, evaluate, sweep: a selection of the tests, about a minute
# make test                                 run the tests (short form of the reliability tests), about six minutes
# make lint                                 check format, lint and types
# make check                                lint and test
# make bars                                 long form of the reliability tests (20 minutes on two processors)
# make services                             tests with Slurm, Ray and PostgreSQL, which it installs (Debian, as root)
# make extras                               tests of what needs extras (ONNX, Hub, trackers, Atari, ...), which it installs
# make learning                             train a few presets and compare them with docs/learning.md (CASES=... for some)
# make docs                                 build the documentation as a site in site/
# make format                               format the code and fix what ruff can fix

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
ARGS ?= algo=dqn env=mountaincar

# Empty: the build of torch on PyPI, which is CUDA's on Linux. cpu, or a version of CUDA such as cu130: that build.
TORCH ?=
TORCH_VERSION := $(shell sed -n 's/^torch==//p' constraints.txt)
# What torch needs follows with rl-cli, from PyPI: that index has only some versions of it.
TORCH_INDEX := $(if $(TORCH),--no-deps --index-url https://download.pytorch.org/whl/$(TORCH))
TORCH_SIZE := $(if $(filter cpu,$(TORCH)),a download of 0.2 GB,0.2 GB for a CPU; several GB with CUDA, as on Linux without TORCH=cpu)

.PHONY: train smoke test lint check bars services extras learning docs format clean

train: $(VENV)/ready
	$(BIN)/rl-train $(ARGS)

# Both processors of a small machine take a minute; the processes of the tests run side by side.
smoke: $(VENV)/ready-dev
	$(BIN)/python -m pytest tests/core tests/buffers tests/cli/test_commands.py tests/cli/test_sweep_and_resume.py

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
	RL_CLI_BARS=full RL_CLI_BARS_FILE=benchmarks/bars.txt $(BIN)/python -m pytest -q tests/bars tests/engine tests/collectors tests/algos tests/cli/test_sweep_and_resume.py tests/test_notebooks.py tests/test_learning.py

# Slurm and PostgreSQL come from Debian's packages; the servers are private and end with each test.
services: $(VENV)/ready-dev
	PYTHON=$(BIN)/python tests/services/install.sh
	RL_CLI_SERVICES=1 $(BIN)/python -m pytest -q -n 0 tests/services

# Without the packages these tests are skipped by make test.
extras: $(VENV)/ready-dev
	@echo "Installing the extras: a download of 0.3 GB"
	$(PIP) --editable '.[mujoco,atari,minatar,onnx,hub,minari,wandb,trackio,mlflow,search,plots]'
	RL_CLI_BARS=full $(BIN)/python -m pytest -q -rs tests/export tests/tracking tests/envs tests/api

learning: $(VENV)/ready-dev
	$(BIN)/python benchmarks/learning.py --quick $(CASES)

format: $(VENV)/ready-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist site

# torch is installed first, so that no other requirement selects another build of it.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "Installing torch $(TORCH_VERSION) in $(VENV)/: $(TORCH_SIZE)"
	$(PIP) torch==$(TORCH_VERSION) $(TORCH_INDEX)
	@echo "Installing rl-cli with gymnasium, Hydra, TensorBoard and others: a download of 0.2 GB"
	$(PIP) --editable .
	@du -sh $(VENV) 2>/dev/null | sed 's/\t.*/ on disk/' || true
	touch $@

$(VENV)/ready-dev: $(VENV)/ready
	@echo "Installing pytest, ruff, mypy, mkdocs and others, for development: a download of 0.1 GB"
	$(PIP) --editable '.[dev]'
	touch $@
