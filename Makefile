# Two commands set everything up: `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
NODE_STAMP := node_modules/.ready

# A value as one word for the shell, whatever characters it has.
quoted = '$(subst ','\'',$(1))'

# demo: PHOTOS=DIR (one folder a class), ADS=N, EXIT=1, FINETUNE=1, WEIGHTS=…, PORT=N
DEMO_FLAGS := $(if $(PHOTOS),--photos $(call quoted,$(PHOTOS))) $(if $(ADS),--ads $(ADS)) \
	$(if $(EXIT),--exit) $(if $(FINETUNE),--finetune) \
	$(if $(WEIGHTS),--weights $(call quoted,$(WEIGHTS))) $(if $(PORT),--port $(PORT))

# Measured with the packages of constraints.txt, on Linux.
VENV_GB := 7
CPU_VENV_GB := 2

# The programs in .venv begin with its path: after a checkout was moved, or copied, none of them
# starts, or starts the other checkout's code.
VENV_FAULT := $(shell test -e $(STAMP) || exit 0; \
	head -n 2 $(BIN)/lalafo 2>/dev/null | grep -qF "$$(pwd -P)/$(BIN)/" || \
		{ echo "this checkout was moved or copied"; exit 0; }; \
	$(BIN)/python -c "" 2>/dev/null || echo "the Python that it was made with is gone")

# npm writes into its cache at every start, and containers have a HOME that can't be written.
ifeq ($(shell test -w "$$HOME" && echo yes),)
export npm_config_cache := $(CURDIR)/node_modules/.cache/npm
endif

.PHONY: help demo test unit drill lint lint-style lint-types lint-layers lint-page check bench \
	clean-venv unusable-venv
.DEFAULT_GOAL := help

help:
	@echo "make demo    everything on this machine, 200 ads through Kafka; Ctrl-C ends it"
	@echo "             PHOTOS=DIR your own photos (a folder a class, at any depth), ADS=N, EXIT=1, FINETUNE=1,"
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
	@echo
	@echo "The first of them that needs it installs .venv, up to $(VENV_GB) GB: 3 minutes or more."

# The environment, whole or not at all: the stamp is written last.
$(STAMP): pyproject.toml constraints.txt $(if $(VENV_FAULT),unusable-venv)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; name it: make PYTHON=python3.11 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv; } || \
		{ echo "Python's venv is missing: sudo apt-get install python3-venv"; exit 1; }
	@echo "Installing the packages of pyproject.toml into $(VENV): up to $(VENV_GB) GB of disk, and 3 to 10"
	@echo "minutes by the speed of the network. Free here: $$(df -Pk . | \
		awk 'NR == 2 { printf "%d", $$4 / 1000000 }') GB. Ctrl-C stops it; the next try goes on."
	@command -v nvidia-smi >/dev/null || [ -e /dev/nvidia0 ] || [ -n "$$PIP_EXTRA_INDEX_URL" ] || { \
		echo "This machine has no NVIDIA GPU, and most of it is CUDA. With the address of PyTorch's"; \
		echo "index of CPU builds in PIP_EXTRA_INDEX_URL, pip takes torch and torchvision from there:"; \
		echo "about $(CPU_VENV_GB) GB in all. The ordinary index has no CPU builds for Linux."; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt \
		--editable '.[dev]'
	@touch $@
	@echo "Installed: $$(du -sh $(VENV) | cut -f 1) in $(VENV)"

unusable-venv:
	@echo "$(VENV) does not work: $(VENV_FAULT). It is made anew."
	@rm -rf $(VENV)

demo: $(STAMP)
	@$(BIN)/lalafo demo $(DEMO_FLAGS)

# All tests run in WORKERS processes side by side; those that ARGS picks out, or debugs, in one.
# Those that failed side by side then run once more with the machine to themselves: what fails
# alone too fails the command, and what only failed beside other tests stays in the report.
WORKERS ?= 3
PICKED := $(filter -k% -m% -n% -p% -x --lf --last-failed --ff --sw --pdb -s --co tests/%,$(ARGS))
AGAIN := --last-failed --last-failed-no-failures none --maxfail 3 -rfEp

test: $(STAMP)
ifneq ($(PICKED),)
	$(BIN)/python -m pytest $(ARGS)
else
	@$(BIN)/python -m pytest -n $(WORKERS) $(ARGS) || { \
		code=$$?; [ $$code = 1 ] || exit $$code; \
		echo "Once more, one after the other, those that failed beside other tests:"; \
		$(BIN)/python -m pytest $(AGAIN) || exit $$?; \
		echo "Those that failed beside other tests passed alone."; }
endif

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
		tests/integration/resources/vector_search/test_indexer.py \
		tests/e2e/test_stack_faults.py $(ARGS)

check: lint test

bench: $(STAMP)
	$(BIN)/lalafo bench batch
	$(BIN)/lalafo bench stream
	$(BIN)/lalafo bench stream --saturate
	$(BIN)/lalafo bench gateway

clean-venv:
	rm -rf $(VENV)
