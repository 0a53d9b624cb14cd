# Two commands matter: `make demo` and `make test`. Both create what they need; second runs are quick.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
CONSTRAINTS := constraints.txt
# What the environment is made from, and what the compiled ring is made from: each rebuilds its own.
PARTS := pyproject.toml setup.py $(CONSTRAINTS)
RING := $(wildcard src/fastbridge/*.pyx src/fastbridge/*.h)
# The rooms that are plain Python with their C types beside them; a new one is compiled by itself.
TYPES := $(shell find src/fastbridge -name '*.pxd')
RING += $(TYPES) $(wildcard $(TYPES:.pxd=.py))
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)
# In place and with the build parts of the constraints file, not with whatever is newest today.
INSTALL := $(PIP) --no-build-isolation

.PHONY: demo test prove lint format dashboards-shots bench bench-baseline bench-load bench-peers bench-soak doctor clean help simulate
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(STAMPS)/demo $(STAMPS)/ring  ## the main job on the embedded AI: a call, an interruption, its proof
	$(BIN)/fastbridge demo

# What is missing is named first; the tests that can run do, and the exit code tells.
test: $(STAMPS)/test $(STAMPS)/ring  ## the whole test suite, with coverage
	@parts=0; $(BIN)/python tests/system_parts.py || parts=1; \
	$(BIN)/python tests/run.py && exit $$parts

prove: $(STAMPS)/test $(STAMPS)/ring  ## the ring's proofs at depth, the scanners on two million damaged messages
	@$(BIN)/python tests/system_parts.py
	@PYTHONPATH=tests $(BIN)/python -m prove
	@FASTBRIDGE_SCAN_CASES=$${FASTBRIDGE_SCAN_CASES:-20000} \
	FASTBRIDGE_SCAN_MUTANTS=$${FASTBRIDGE_SCAN_MUTANTS:-2000000} $(BIN)/python -m pytest -q tests/test_scan.py

lint: $(STAMPS)/dev $(STAMPS)/ring  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMPS)/dev  ## let ruff format everything
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

# Every part runs, then the exit code tells whether a target was missed or a step has grown.
bench: $(STAMPS)/bench $(STAMPS)/ring  ## ring, flush, wire and sockets beside their rivals, and the instruction counts
	@$(BIN)/python tests/system_parts.py --bench
	@failed=0; $(BIN)/python -m bench.instructions || failed=1; \
	$(BIN)/python -m bench.sockets || failed=1; \
	$(BIN)/python -m bench.readiness || failed=1; \
	$(BIN)/python -m pytest bench --benchmark-columns=min,median || failed=1; exit $$failed

bench-baseline: $(STAMPS)/test $(STAMPS)/ring  ## record the instruction counts of this compiler and Python
	$(BIN)/python -m bench.instructions --record

bench-load: $(STAMPS)/test $(STAMPS)/ring  ## calls on one core, beside a minimal C relay (LOAD="--quick")
	$(BIN)/python -m bench.load.run $(LOAD)

bench-peers: $(STAMPS)/test $(STAMPS)/ring  ## the same, pipecat and openai-agents beside it, into bench/README.md
	$(BIN)/python -m bench.peers.adapters
	$(BIN)/python -m bench.load.run --peers --publish $(LOAD)

bench-soak: $(STAMPS)/test $(STAMPS)/ring  ## 300 calls for 10 minutes (SOAK="--calls 50 --minutes 1")
	$(BIN)/python -m bench.load.soak $(SOAK)

simulate: $(STAMPS)/demo $(STAMPS)/ring  ## 10,000 simulated calls of a minute, every rule after every step
	$(BIN)/fastbridge simulate --calls 10000

dashboards-shots: $(STAMPS)/test $(STAMPS)/ring  ## docs/dashboard-*.png: the boards with the data of 20 calls
	@$(BIN)/python tests/system_parts.py
	$(BIN)/python tests/board_pictures.py

doctor: $(STAMPS)/demo $(STAMPS)/ring  ## check settings, ports, key, compiled ring
	$(BIN)/fastbridge doctor

clean:  ## remove everything that was built
	rm -rf $(VENV) build dist src/*.egg-info src/fastbridge/_*.c
	find src -name '*.so' -delete

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "missing: $(PYTHON); on Debian: apt-get install python3 python3-venv python3-dev"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "fastbridge needs Python 3.11 to 3.13; this is $$($(PYTHON) --version); name another: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { echo "missing: Python's venv; on Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(STAMPS)/build: $(BIN)/python $(CONSTRAINTS) setup.py
	@$(PIP) cython setuptools
	@$(BIN)/python -c 'import setup; setup.demand_parts()'
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/demo: $(STAMPS)/build $(PARTS)
	@echo "installing fastbridge into $(VENV) (once)"
	@$(INSTALL) -e '.[demo]'
	@touch $@ $(STAMPS)/ring

$(STAMPS)/test: $(STAMPS)/build $(PARTS)
	@echo "installing fastbridge with its test parts into $(VENV) (once)"
	@$(INSTALL) -e '.[test]'
	@touch $@ $(STAMPS)/demo $(STAMPS)/ring

$(STAMPS)/bench: $(STAMPS)/build $(PARTS)
	@echo "installing fastbridge with what it is measured against into $(VENV) (once)"
	@$(INSTALL) -e '.[bench]'
	@touch $@ $(STAMPS)/test $(STAMPS)/demo $(STAMPS)/ring

$(STAMPS)/dev: $(STAMPS)/build $(PARTS)
	@echo "installing fastbridge with the linters into $(VENV) (once)"
	@$(INSTALL) -e '.[dev]'
	@touch $@ $(STAMPS)/bench $(STAMPS)/test $(STAMPS)/demo $(STAMPS)/ring

# The installs above build the ring too; this rule is for a source edited since.
$(STAMPS)/ring: $(RING)
	@echo "building the ring"
	@$(BIN)/python setup.py -q build_ext --inplace
	@touch $@
