# Set-up and daily work. `make dev` and `make test` need Python 3.11 or newer and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup dev test test-long test-all test-browser test-containers check format bench attacks soak test-servers requirements released clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.dev ## the environment alone

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("jetkv needs Python 3.11 or newer; this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# What `make dev` needs is a third of what the tests need: the first evening starts sooner.
$(VENV)/.run: requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "installing the gateway"
	@$(BIN)/python -m pip install -q -r requirements/run.txt
	@$(BIN)/python -m pip install -q --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@echo "installing what the tests need"
	@$(BIN)/python -m pip install -q -r requirements/dev.txt
	@touch $@

$(VENV)/.client: requirements/ironflow.txt $(VENV)/.dev
	@$(BIN)/python -m pip install -q -r requirements/ironflow.txt
	@touch $@

# From the command line only: the environment may have a PORT for something else.
given = $(if $(filter command line,$(origin $1)),$(if $($1),$2 $($1)))

dev: $(VENV)/.run ## gateway and an embedded nats-server on 127.0.0.1:9123; PORT=9223 NATS_PORT=4333
	@JETKV_STARTED_BY="make dev" $(BIN)/jetkv dev --bucket counters --bucket feature-flags \
	  $(call given,PORT,--port) $(call given,NATS_PORT,--nats-port)

# By file, so that what a file's tests share is made once; more than two at a time, since many wait.
PYTEST = $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.client ## the tests, on the newest nats-server; under eight minutes on two cores
	$(PYTEST) -m "not long"

test-long: $(VENV)/.client ## faults on a cluster, upgrades, restarts under load, attacks and storms
	$(PYTEST) -m long

test-all: test test-long test-browser ## all of these; Chromium for the last one

test-browser: $(VENV)/.client ## watch in headless Chromium (Debian's package chromium)
	$(BIN)/python -m pytest tests/browser

test-containers: $(VENV)/.client ## the image and the test kit's containers, on a Docker engine
	$(BIN)/python -m pytest tests/containers

check: $(VENV)/.dev ## format, lint, types, import rules, sizes of files
	$(BIN)/python tools/unasync.py --check
	$(BIN)/python tools/bucket_settings.py --check
	$(BIN)/python tools/sizes.py
	$(BIN)/ruff format --check adapter sdk tests tools docs/recipes
	$(BIN)/ruff check adapter sdk tests tools docs/recipes
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## format and fix what can be fixed
	$(BIN)/ruff check --fix adapter sdk tests tools docs/recipes
	$(BIN)/ruff format adapter sdk tests tools docs/recipes
	$(BIN)/python tools/unasync.py
	$(BIN)/python tools/bucket_settings.py

bench: $(VENV)/.client ## all figures of docs/benchmarks.md, side by side; QUICK=1: the ratios alone
	$(BIN)/python -m tests.bench $(if $(QUICK),--quick)

attacks: $(VENV)/.client ## what attackers can do to others, row by row; ROW=head, SECONDS=5
	$(BIN)/python -m tests.attacks $(if $(ROW),--row $(ROW)) $(call given,SECONDS,--seconds)

MINUTES ?= 10
soak: $(VENV)/.client ## faults on a cluster, as long as MINUTES says; SEED=s begins as that run did
	$(BIN)/python -m tests.cluster --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

test-servers: $(VENV)/.client ## the integration tests on older nats-servers
	$(BIN)/python -m tests.servers

requirements: $(VENV)/.dev ## pin again what pyproject.toml and requirements/*.in ask for
	$(BIN)/python -m pip install -q uv
	cd requirements && for name in run dev ironflow; do \
	  ../$(BIN)/uv pip compile --universal --python-version 3.11 --no-header --no-annotate -q --upgrade $$name.in -o $$name.txt; done

released: $(VENV)/.dev ## at a release: keep its OpenAPI document and public names for the tests
	$(BIN)/python -m tools.released

clean: ## remove what the targets above made, but for the data of `make dev`
	rm -rf $(VENV) .cluster-failures .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
