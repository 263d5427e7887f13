# Two commands set everything up: `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
NODE_STAMP := node_modules/.ready

# demo: PHOTOS=DIR (one folder a class), ADS=N, EXIT=1, FINETUNE=1, WEIGHTS=…, PORT=N
DEMO_FLAGS := $(if $(PHOTOS),--photos "$(PHOTOS)") $(if $(ADS),--ads $(ADS)) \
	$(if $(EXIT),--exit) $(if $(FINETUNE),--finetune) $(if $(WEIGHTS),--weights $(WEIGHTS)) \
	$(if $(PORT),--port $(PORT))

.PHONY: help demo test unit drill lint lint-style lint-types lint-layers lint-page check bench \
	clean-venv
.DEFAULT_GOAL := help

help:
	@echo "make demo    everything on this machine, 200 ads through Kafka; Ctrl-C ends it"
	@echo "             PHOTOS=DIR your own photos (one folder a class), ADS=N, EXIT=1, FINETUNE=1,"
	@echo "             WEIGHTS=auto|starter|pretrained|file:PATH, PORT=N"
	@echo "make unit    the tests that need no server, in less than a minute"
	@echo "make test    every test that this machine can run, in WORKERS=3 processes"
	@echo "make drill   the fault proofs at ten times the size: about an hour"
	@echo "make lint    lint-style, lint-page, lint-layers, lint-types: Python's lint and format, the"
	@echo "             page's files (with node and npm), layers, types"
	@echo "make check   lint and test: what CI runs"
	@echo "             ARGS='…' goes to pytest: make test ARGS='-k release -x' runs those alone"
	@echo "make bench   the asset path, the stream and the gateway, each beside a baseline or a peer"
	@echo "make clean-venv   remove .venv, so that the next command makes it anew"

# The environment, whole or not at all: the stamp is written last.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; name it: make PYTHON=python3.11 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv; } || \
		{ echo "Python's venv is missing: sudo apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/lalafo demo $(DEMO_FLAGS)

# All tests run in WORKERS processes side by side; those that ARGS picks out, or debugs, in one.
WORKERS ?= 3
PICKED := $(filter -k% -m% -n% -p% -x --lf --last-failed --ff --sw --pdb -s --co tests/%,$(ARGS))

test: $(STAMP)
	$(BIN)/python -m pytest $(if $(PICKED),,-n $(WORKERS)) $(ARGS)

unit: $(STAMP)
	$(BIN)/python -m pytest tests/unit -m "not slow" $(ARGS)

# From the fastest to the slowest.
lint: lint-style lint-page lint-layers lint-types

lint-style: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint-page:
	@if command -v node >/dev/null && command -v npm >/dev/null; then \
		$(MAKE) -s $(NODE_STAMP) && npm run --silent check; \
	elif [ "$$LALAFO_REQUIRE_NODE" = 1 ]; then \
		echo "LALAFO_REQUIRE_NODE=1, but node or npm is missing"; exit 1; \
	else \
		echo "skipped: the page's files were not checked, since node or npm is missing"; \
	fi

$(NODE_STAMP): package.json .npmrc
	npm install --no-audit --no-fund --loglevel=error
	@touch $@

lint-layers: $(STAMP)
	$(BIN)/lint-imports

lint-types: $(STAMP)
	$(BIN)/mypy

# The fault proofs at ten times the size: about an hour.
drill: $(STAMP)
	LALAFO_DRILL=1 LALAFO_REQUIRE_KAFKA=1 $(BIN)/python -m pytest \
		$(addprefix tests/integration/resources/sessions/, \
			test_faults.py test_several_sessions.py test_outages.py) \
		tests/e2e/test_stack_faults.py $(ARGS)

check: lint test

bench: $(STAMP)
	$(BIN)/lalafo bench batch
	$(BIN)/lalafo bench stream
	$(BIN)/lalafo bench stream --saturate
	$(BIN)/lalafo bench gateway

clean-venv:
	rm -rf $(VENV)
