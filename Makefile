# Works on a machine with nothing but Python 3.11 to 3.13 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help train test format clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

train: $(VENV)/ready ## train the BiLSTM on the embedded demo corpus
	$(BIN)/python -m src.train model=bilstm experiment=demo

test: $(VENV)/ready ## run the whole test suite
	$(BIN)/python -m pytest

format: $(VENV)/ready ## format and lint
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/mypy

clean: ## remove the virtual environment, caches and outputs
	rm -rf $(VENV) outputs .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
