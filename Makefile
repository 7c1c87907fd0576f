# Set-up and daily work. `make dev` and `make test` need Python 3.11 or newer and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Without bytecode files, every process that a test starts compiles everything again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup dev test test-long test-all test-browser test-openfeature test-containers test-deploy test-release test-integrations check advisories format bench attacks fuzz soak test-servers test-server test-peers requirements dist released clean

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

$(VENV)/.client: requirements/ironflow.txt requirements/openfeature.txt $(VENV)/.dev
	@$(BIN)/python -m pip install -q -r requirements/ironflow.txt -r requirements/openfeature.txt
	@touch $@

$(VENV)/.browser: requirements/browser.txt $(VENV)/.client
	@$(BIN)/python -m pip install -q -r requirements/browser.txt
	@touch $@

$(VENV)/.deploy: requirements/deploy.txt $(VENV)/.client
	@$(BIN)/python -m pip install -q -r requirements/deploy.txt
	@touch $@

$(VENV)/.integrations: requirements/integrations.txt $(VENV)/.client
	@$(BIN)/python -m pip install -q -r requirements/integrations.txt
	@touch $@

# From the command line only: the environment may have a PORT for something else.
given = $(if $(filter command line,$(origin $1)),$(if $($1),$2 $($1)))

dev: $(VENV)/.run ## gateway and an embedded nats-server on 127.0.0.1:9123; PORT=9223 NATS_PORT=4333
	@JETKV_STARTED_BY="make dev" $(BIN)/jetkv dev --bucket counters --bucket feature-flags \
	  $(call given,PORT,--port) $(call given,NATS_PORT,--nats-port)

# Each tier prints its ten slowest tests and its time.
ALONE = $(BIN)/python -m pytest -q --no-header --durations 10 --durations-min 1
# By file, so that what a file's tests share is made once; more than two at a time, since many wait.
# tests/conftest.py starts the slowest files first.
PYTEST = $(ALONE) -n 4 --dist loadfile --no-loadscope-reorder
FEW = $(ALONE) --dist loadfile
tier = @begun=$$(date +%s); $(1); code=$$?; echo "== $@: $$(( $$(date +%s) - begun )) s"; exit $$code

test: $(VENV)/.client ## the tests, on the newest nats-server; under eight minutes on two cores
	$(call tier,$(PYTEST) -m "not long")

test-long: $(VENV)/.client ## faults on a cluster, processes that end or hang, upgrades, restarts under load, attacks
	$(call tier,$(PYTEST) -m long)

test-browser: $(VENV)/.browser ## the console and watches in headless Chromium (Debian's package chromium)
	$(call tier,$(FEW) -n 2 tests/browser)

test-openfeature: $(VENV)/.client ## OpenFeature's JavaScript providers (Debian's packages npm and chromium)
	$(call tier,$(ALONE) tests/openfeature)

test-containers: $(VENV)/.client ## the image and the test kit's containers, on a Docker engine
	$(call tier,$(ALONE) tests/containers)

test-deploy: $(VENV)/.deploy ## the files of deploy/ (Debian's packages systemd, prometheus and caddy)
	$(call tier,$(ALONE) tests/deploy)

test-release: $(VENV)/.deploy ## what `make dist` makes: installed and used on this Python and the newest one
	$(call tier,$(ALONE) tests/release)

test-integrations: $(VENV)/.integrations ## the adapters for other libraries, and those libraries' own tests
	$(call tier,$(FEW) -n 3 tests/integrations)

test-python: $(VENV)/.client # the tests that a Python may break, on the one of VENV
	$(call tier,$(PYTEST) -m "not long" tests/unit tests/contract tests/watch tests/sdk)

test-servers: $(VENV)/.client ## the tests that need a nats-server, on older ones
	$(call tier,$(BIN)/python -m tests.servers)

test-server: $(VENV)/.client # the same on the one that JETKV_NATS_SERVER names
	$(call tier,$(PYTEST) -m "not long" $(shell $(BIN)/python -c 'import tests.servers; print(*tests.servers.SUITES)'))

test-peers: $(VENV)/.client ## each server of the benchmarks starts and answers; no bar has to be met
	$(call tier,$(BIN)/python -m tests.bench --quick --rounds 1 --seconds 1 --no-bar)

TIERS = test test-long test-browser test-openfeature test-containers test-deploy test-release test-integrations test-servers test-peers
test-all: $(VENV)/.client ## all of these, to the end, and their times; needs Chromium, Docker and systemd
	@times=; failed=; \
	for tier in $(TIERS); do \
	  begun=$$(date +%s); $(MAKE) --no-print-directory $$tier || failed="$$failed $$tier"; \
	  times="$$times$$(( $$(date +%s) - begun )) s\t$$tier\n"; \
	done; \
	echo "== test-all, slowest first"; printf "$$times" | sort -rn; \
	[ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

check: $(VENV)/.dev ## format, lint, types, import rules, sizes of files
	$(BIN)/python tools/unasync.py --check
	$(BIN)/python tools/bucket_settings.py --check
	$(BIN)/python tools/sizes.py
	$(BIN)/ruff format --check adapter sdk tests tools docs/recipes
	$(BIN)/ruff check adapter sdk tests tools docs/recipes
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory advisories

# Its packages would narrow the choice of ours, so it has an environment of its own.
$(VENV)/audit/.installed: requirements/audit.txt | $(BIN)/python
	@$(BIN)/python -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip install -q -r requirements/audit.txt
	@touch $@

advisories: $(VENV)/audit/.installed $(VENV)/.dev ## known vulnerabilities of the pinned packages
	@$(BIN)/python tools/advisories.py

format: $(VENV)/.dev ## format and fix what can be fixed
	$(BIN)/ruff check --fix adapter sdk tests tools docs/recipes
	$(BIN)/ruff format adapter sdk tests tools docs/recipes
	$(BIN)/python tools/unasync.py
	$(BIN)/python tools/bucket_settings.py

bench: $(VENV)/.client ## all figures of docs/benchmarks.md, side by side; QUICK=1: the ratios alone
	$(BIN)/python -m tests.bench $(if $(QUICK),--quick)
	$(BIN)/python -m tests.bench.batches

attacks: $(VENV)/.client ## what attackers can do to others, row by row; ROW=head, SECONDS=5
	$(BIN)/python -m tests.attacks $(if $(ROW),--row $(ROW)) $(call given,SECONDS,--seconds)

fuzz: $(VENV)/.client ## search for input that breaks a reader of bytes, by atheris; SECONDS=30 for each
	$(BIN)/python -m pip install -q -r requirements/fuzz.txt
	$(BIN)/python -m tests.fuzz $(call given,SECONDS,--seconds)

MINUTES ?= 10
soak: $(VENV)/.client ## faults on a cluster, as long as MINUTES says; SEED=s begins as that run did
	$(BIN)/python -m tests.cluster --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

requirements: $(VENV)/.dev ## pin again what pyproject.toml and requirements/*.in ask for
	$(BIN)/python -m pip install -q uv
	cd requirements && for name in run dev ironflow integrations openfeature browser image deploy sbom fuzz audit dist; do \
	  ../$(BIN)/uv pip compile --universal --python-version 3.11 --no-header --no-annotate -q --upgrade $$name.in -o $$name.txt; done

$(VENV)/.dist: requirements/dist.txt | $(BIN)/python
	@$(BIN)/python -m venv $(VENV)/dist
	@$(VENV)/dist/bin/python -m pip install -q -r requirements/dist.txt
	@touch $@

# The wheel is built from the sdist, so that the sdist is known to be complete.
dist: $(VENV)/.dist ## in dist/: the sdist, the wheel, and what an installation has, as CycloneDX
	@rm -rf dist
	@$(VENV)/dist/bin/python -m build --outdir dist .
	@$(VENV)/dist/bin/python -m twine check --strict dist/*
	@tools/sbom.sh $(VENV)/dist/bin dist/*.whl

released: $(VENV)/.dev ## at a release: keep its OpenAPI document and public names for the tests
	$(BIN)/python -m tools.released

clean: ## remove what the targets above made, but for the data of `make dev`
	rm -rf $(VENV) .venv-* dist .cluster-failures .pytest_cache .mypy_cache .ruff_cache .hypothesis .fuzz .import_linter_cache
