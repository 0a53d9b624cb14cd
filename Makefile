# Two commands matter: `make demo` and `make test`. Both create what they need; second runs are quick.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
CONSTRAINTS := constraints.txt
SOURCES := pyproject.toml setup.py $(CONSTRAINTS) $(wildcard src/fastbridge/*.pyx src/fastbridge/*.pxd src/fastbridge/*.h)

.PHONY: demo test lint format system-parts bench doctor clean help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(STAMPS)/demo  ## the main job on the embedded AI: a call, an interruption, its proof
	$(BIN)/fastbridge demo

test: $(STAMPS)/test system-parts  ## the whole test suite, with coverage
	$(BIN)/python tests/run.py

lint: $(STAMPS)/dev  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMPS)/dev  ## let ruff format everything
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: $(STAMPS)/test  ## the ring's benchmarks
	$(BIN)/python -m pytest bench --benchmark-only --benchmark-columns=min,median,ops

doctor: $(STAMPS)/demo  ## check settings, ports, key, compiled ring
	$(BIN)/fastbridge doctor

system-parts:
	@$(BIN)/python tests/system_parts.py

clean:  ## remove everything that was built
	rm -rf $(VENV) build dist src/*.egg-info src/fastbridge/_ring.c src/fastbridge/_ring*.so

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fastbridge needs Python 3.11 or newer; this is $$($(PYTHON) --version)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { echo "missing: Python's venv; on Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Installed in place: the compiled ring is rebuilt when one of its sources changes, and only then.
$(STAMPS)/demo: $(BIN)/python $(SOURCES)
	@echo "installing fastbridge into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[demo]'
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/test: $(BIN)/python $(SOURCES)
	@echo "installing fastbridge with its test parts into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[test]'
	@mkdir -p $(STAMPS) && touch $@ $(STAMPS)/demo

$(STAMPS)/dev: $(STAMPS)/test
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev]'
	@touch $@
