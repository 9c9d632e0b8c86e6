# `make demo` and `make test` set themselves up: they need Python 3.11 or later and, the first time, a network.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS := -n auto --maxprocesses 4

.PHONY: demo test test-fast harness test-harness lint bench setup clean

demo: setup
	$(BIN)/glm demo

test: setup lint
	$(BIN)/python -m pytest $(WORKERS)

test-fast: setup
	$(BIN)/python -m pytest $(WORKERS) -m "not slow"

harness: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[harness]"

test-harness: harness
	$(BIN)/python -m pytest $(WORKERS) tests/evaluation/test_harness_bridge.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[hf]"
	$(BIN)/python benchmarks/train.py --against-huggingface

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or later is needed, {sys.executable} is {v[0]}.{v[1]}. Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
