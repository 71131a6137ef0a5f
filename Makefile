# `make demo` and `make test` do all the set-up: a virtual environment in .venv, and everything in it.

PYTHON ?= python3
VENV ?= .venv
PARITY ?= .parity
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-browser test-matrix slow parity fixtures docs clean

help:
	@echo "make demo          train a small network on handwritten digits, evaluate it, predict (under 2 minutes)"
	@echo "make test          format, lint, types and tests (what CI runs)"
	@echo "make test-browser  the pages in a real browser (needs Debian's chromium)"
	@echo "make test-matrix   the tests on every Python found, with the lowest and the newest libraries; own environments"
	@echo "make slow          the tests that take minutes"
	@echo "make parity        every network against independent implementations, others' networks inspected; own environment"
	@echo "make fixtures      tests/golden written anew by those implementations: their weight files, their numbers"
	@echo "make docs          the numbers and figures of docs/family, from the networks themselves"
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

test-browser: $(INSTALLED)
	@command -v chromium >/dev/null || { echo "there is no chromium: apt-get install chromium"; exit 1; }
	OMP_NUM_THREADS=1 $(BIN)/pytest -m browser

# ARGS go to pytest: make test-matrix ARGS="tests/test_zoo.py"
test-matrix:
	$(PYTHON) tests/matrix.py $(ARGS)

slow: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow

# The peers: torchvision, timm, Keras, TensorFlow and others. Numbers from them are kept in tests/golden/parity.
$(PARITY)/installed: tests/parity/requirements.txt tests/parity/requirements-alone.txt
	test -x $(PARITY)/bin/python || $(PYTHON) -m venv $(PARITY)
	$(PARITY)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/parity/requirements.txt
	$(PARITY)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/parity/requirements-alone.txt
	touch $@

parity: $(PARITY)/installed
	PYTHONPATH=src $(PARITY)/bin/python tests/parity/prove.py
	PYTHONPATH=src $(PARITY)/bin/python tests/parity/others.py

# The same bytes each time with the same versions (numbers may differ in their last digits): git shows what changed.
fixtures: $(PARITY)/installed
	for peer in torch keras caffe tensorflow; do \
		PYTHONPATH=src $(PARITY)/bin/python tests/parity/$${peer}_fixtures.py || exit 1; done
	PYTHONPATH=src $(PARITY)/bin/python tests/parity/prove.py --write

docs: $(INSTALLED)
	$(BIN)/python docs/build.py

clean:
	rm -rf $(VENV) $(PARITY) .matrix build dist demo .mypy_cache .ruff_cache .pytest_cache src/inceptions.egg-info
