# `make demo` and `make test` do all the set-up: a virtual environment in .venv, and everything in it.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.DEFAULT_GOAL := help
.PHONY: help install demo test slow clean

help:
	@echo "make demo          train a small network on handwritten digits, evaluate it, predict (under 2 minutes)"
	@echo "make test          format, lint, types and tests (what CI runs)"
	@echo "make slow          the tests that take minutes"
	@echo "make install       only the virtual environment $(VENV)"
	@echo "make clean         remove the environment and everything that was generated"

install: $(INSTALLED)

# Repeated only when the dependencies change. An environment that exists is kept, with the torch in it if that fits.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/python examples/digits.py

test: $(INSTALLED)
	VENV=$(VENV) ./check

slow: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow

clean:
	rm -rf $(VENV) build dist demo .mypy_cache .ruff_cache .pytest_cache src/inceptions.egg-info
