# Everything a person does with a checkout. Each target sets up what it needs by itself.
# PYTHON names the interpreter that builds the environment (3.11, 3.12 or 3.13).

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.regulus-installed
BIN := $(VENV)/bin
PYTEST_ARGS ?=
# Two workers: the tests start real servers, which use the other cores.
TEST_WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-stack bench bench-quick lint format lock clean

help: ## Say what can be made
	@echo "Regulus: keeps a model server inside its latency objective while it serves."
	@echo
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with the locked dependencies and Regulus in it

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Regulus needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is {v.major}.{v.minor}. Name another: make PYTHON=python3.12 ...")'
	@echo "==> Making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "No virtual environment could be made. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "==> Installing the locked dependencies (TensorFlow is the large one; a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@echo "==> Installing Regulus itself"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: $(STAMP) ## Watch Regulus keep a model server inside its objective (about four minutes)
	@$(BIN)/regulus demo

test: $(STAMP) ## Run the tests with coverage
	@echo "==> Running the tests"
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --cov --cov-report=term $(PYTEST_ARGS)

bench: $(STAMP) ## Replay all policies over the recorded landscapes and rebuild docs/benchmarks.md (hours)
	@$(BIN)/regulus bench run
	@$(BIN)/regulus bench report

bench-quick: $(STAMP) ## The same with few policies and seeds, into out/bench (a minute)
	@$(BIN)/regulus bench run --quick
	@$(BIN)/regulus bench report --results out/bench/quick.parquet --markdown out/bench/benchmarks.md

test-stack: $(STAMP) ## Bring the container stack up for real, test it, take it down (minutes, gigabytes)
	@echo "==> Running the container stack"
	@STACK_TESTS=1 $(BIN)/python -m pytest tests/deploy $(PYTEST_ARGS)

lint: $(STAMP) ## Check style, types and architecture
	@echo "==> ruff: style and common mistakes"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "==> mypy: types"
	@$(BIN)/mypy
	@echo "==> import-linter: architecture"
	@$(BIN)/lint-imports

format: $(STAMP) ## Put the code into its standard form
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

lock: ## Resolve requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes --python-version 3.11 --no-header --no-annotate -o requirements.lock

clean: ## Remove the environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage* out
