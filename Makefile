# One command per chore; .ci/run calls the same ones.
#
#   make compare ARGS="--rate 2"        options for the command behind a chore
#   make compare PYTHON=python3.12      another interpreter (3.11 or newer)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RESULTS ?= results
WORKERS ?= 2
ARGS ?=

PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet install --no-compile --constraint constraints.txt
NEEDS := setup.cfg pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help compare test fuzz mutants check coverage bench regress golden notebooks clean

help:  ## show this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

compare: $(VENV)/.core  ## install the core, compare the schedulers on the paper's mixed workload, draw the pictures
	@$(BIN)/slosim compare $(ARGS)

test: $(VENV)/.dev  ## run the tests (needs no GPU)
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

FUZZ := tests/sim/test_differential.py tests/sim/test_pool.py tests/sim/test_invariants.py

fuzz: $(VENV)/.dev  ## search for stories that differ between the fast and the plain ways to simulate (half an hour)
	@HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal $(or $(ARGS),$(FUZZ))

mutants: $(VENV)/.dev  ## change the core's code in every small way and count the changes that its tests notice (an hour)
	@nice $(BIN)/python -m tests.mutants $(ARGS)

check: $(VENV)/.dev  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

coverage: $(VENV)/.dev  ## run the tests and report branch coverage; fails below 95 %
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal --cov --cov-report=term --cov-fail-under=95 $(ARGS)

bench: $(VENV)/.core  ## measure the simulator's speed against bare SimPy timeouts
	@$(BIN)/python -m experiments.bench $(ARGS)

regress: $(VENV)/.core  ## compare every policy's golden stories
	@$(BIN)/slosim regress $(ARGS)

golden: $(VENV)/.core  ## write the golden stories anew, for review
	@$(BIN)/slosim regress --update $(ARGS)

notebooks: $(VENV)/.dev  ## execute every notebook
	@$(BIN)/python -m pytest -m notebook $(ARGS)

clean:  ## remove results, caches and the environment
	rm -rf $(VENV) $(RESULTS) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment: a stamp for each set of libraries, renewed when what it was made from changes. Tests use torch on the
# CPU, and any build of it does. The one that PyPI has for Linux brings CUDA, some gigabytes; a small one comes with
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu in the environment. The core needs none.

$(BIN)/python:
	@command -v $(PYTHON) > /dev/null || { \
	  echo "slosim needs Python 3.11 or newer, and $(PYTHON) was not found: install it, or say make PYTHON=/path/to/python3.12"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "slosim needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1): say make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2> /dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: install that part first (Debian, Ubuntu: sudo apt install python3-venv)"; exit 2; }
	@echo "Making a virtual environment in $(VENV) ($$($(PYTHON) -V 2>&1)) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(NEEDS) | $(BIN)/python
	@echo "Installing slosim and its core libraries (about 140 MB to download the first time; a minute or two) ..."
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(NEEDS) | $(BIN)/python
	@echo "Installing slosim with what its tests and checks need (about 400 MB to download the first time, more with CUDA in torch) ..."
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.core
