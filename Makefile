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
# How long each reader is fuzzed, and how many requests an operation of an API gets.
FUZZ_SECONDS ?= 60
FUZZ_EXAMPLES ?= 500
# Length of a soak.
MINUTES ?= 30

.PHONY: help setup demo test test-stack bench bench-quick faults soak scale guarded lint audit fuzz fuzz-api format lock clean

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
	@$(BIN)/regulus bench run --windows 40
	@$(BIN)/regulus bench report

bench-quick: $(STAMP) ## The same with few policies and seeds, into out/bench (a minute)
	@$(BIN)/regulus bench run --quick
	@$(BIN)/regulus bench report --results out/bench/quick.parquet --markdown out/bench/benchmarks.md

faults: $(STAMP) ## Inject every fault into the real processes and rebuild its table in docs/reliability.md (a quarter of an hour)
	@$(BIN)/python -m benchmarks.faults

soak: $(STAMP) ## Load and faults at random for MINUTES (30), also into docs/reliability.md
	@$(BIN)/python -m benchmarks.faults soak --minutes $(MINUTES)

scale: $(STAMP) ## What 1 to 1000 models cost one control service, also into docs/reliability.md (ten minutes)
	@$(BIN)/python -m benchmarks.scale --docs docs/reliability.md

guarded: $(STAMP) ## What the guardrails cost and save on the landscapes, also into docs/reliability.md (an hour or two)
	@$(BIN)/python -m benchmarks.guarded --docs docs/reliability.md

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

audit: $(STAMP) ## Look the locked dependencies up among known vulnerabilities (needs the network)
	@$(BIN)/python -m deploy.audit

fuzz: $(STAMP) ## Give each reader of foreign text odd inputs for FUZZ_SECONDS (60), and count them
	@$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

fuzz-api: $(STAMP) ## Send each operation of the REST APIs FUZZ_EXAMPLES (500) requests made from their documents
	@REGULUS_FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest --timeout 0 $(wildcard tests/*/test_schema_fuzz.py) $(PYTEST_ARGS)

format: $(STAMP) ## Put the code into its standard form
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

lock: ## Resolve requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes --python-version 3.11 --no-header --no-annotate -o requirements.lock

clean: ## Remove the environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage* out
