# Everything runs from a private environment in .flotilla; nothing outside the checkout changes.
# Options are environment or make variables alike: make demo ONCE=1 CANDLES=candles.parquet

SHELL := /bin/sh
PYTHON ?= python3
VENV := .flotilla/venv
BIN := $(VENV)/bin
CHECKED := libs services migrations/src deploy/sandbox/src tests docs deploy/bootstrap.py deploy/new_secrets.py deploy/release_check.py deploy/grafana

export UV_PROJECT_ENVIRONMENT := $(CURDIR)/$(VENV)
export UV_PYTHON_DOWNLOADS := never
ifneq ($(shell test -n "$$HOME" && test -w "$$HOME" && echo writable),writable)
export UV_CACHE_DIR ?= $(CURDIR)/.flotilla/uv-cache
endif

# Where the machine has certificate authorities of its own, they count.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export UV_SYSTEM_CERTS ?= true
endif

.PHONY: help demo demo-exits soak chaos test test-console mutants bench lint docs migrate gate-study secrets audit sbom release-check clean environment
.DEFAULT_GOAL := help

help:
	@echo 'make demo      run the whole fleet with simulated neighbours (ONCE=1 CANDLES=file SEED=n SYMBOLS=a,b)'
	@echo 'make demo-exits  see every exit rule close a position on paper, in about half a minute (SEED=n)'
	@echo 'make soak      six strategies, two inference replicas, half an hour, then an audit (SOAK_MINUTES=n)'
	@echo 'make chaos     strike the whole fleet with seeded faults, then check it (CHAOS_MINUTES=n CHAOS_SEED=n)'
	@echo 'make test      run every test, with the coverage of the cores (ARGS="tests/unit -k x" runs only those)'
	@echo 'make test-console  look at the console of a running fleet with a real Chromium'
	@echo 'make mutants   change the cores line by line and see whether a test notices (ARGS="common.core.exits.*")'
	@echo 'make bench     measure every goal beside its floor, in one table (ARGS="1 3" only those, ARGS=peers beside others)'
	@echo 'make lint      check style, types, import rules and the lock file'
	@echo 'make docs      write docs of events, metrics, settings; .env.example and dashboards from the code'
	@echo 'make migrate   bring DATABASE_URL, or the private PostgreSQL, to the newest schema'
	@echo 'make gate-study  measure what the promotion gate accepts and refuses (CANDLES=file adds real bars)'
	@echo 'make secrets   make what is missing of the secrets that compose and Kubernetes hand to the services'
	@echo 'make audit     look for known vulnerabilities in everything that uv.lock names'
	@echo 'make sbom      write .flotilla/sbom.json, what the services are made of (CycloneDX)'
	@echo 'make release-check  say what stands between this checkout and a release'
	@echo 'make clean     stop what still runs from this checkout and remove .flotilla'

# Marks whatever these start as ours, for clean.
demo demo-exits soak chaos test test-console bench migrate: export FLOTILLA_PROCESS_OF := $(CURDIR)/.flotilla

demo: environment
	@exec $(BIN)/python -m sandbox.demo

demo-exits: environment
	@exec $(BIN)/python -m sandbox.exits_demo

soak: environment
	@exec $(BIN)/python -m sandbox.soak

chaos: environment
	@exec $(BIN)/python -m sandbox.chaos

ifdef ARGS
test: environment
	@exec $(BIN)/python -m pytest $(ARGS)
else
test: environment
	@$(BIN)/python -m pytest -n 2 --cov --cov-branch --cov-report= tests/unit tests/contract
	@$(BIN)/python -m coverage report --include='*/core/*' --fail-under=95
	@$(BIN)/python -m pytest tests/migrations tests/images tests/deployment tests/integration tests/faults tests/scenario
endif

test-console: environment
	@exec $(BIN)/python -m pytest $(or $(ARGS),tests/console)

mutants: environment
	@exec $(BIN)/python -m tests.mutants $(ARGS)

bench: environment
	@exec $(BIN)/python -m tests.benchmarks $(ARGS)

lint: environment
	@$(BIN)/ruff check $(CHECKED)
	@$(BIN)/ruff format --check $(CHECKED)
	@$(BIN)/mypy $(CHECKED)
	@$(BIN)/lint-imports
	@"$$($(PYTHON) deploy/bootstrap.py)" lock --check

docs: environment
	@$(BIN)/python -m docs.generate
	@$(BIN)/python -m deploy.grafana.build

gate-study: environment
	@exec $(BIN)/python -m docs.gate_study

migrate: environment
	@exec $(BIN)/python -m sandbox.migrate

secrets:
	@exec $(PYTHON) deploy/new_secrets.py

# An advisory is waived in deploy/waived-advisories.txt alone: its id, until when, and why.
audit: environment
	@"$$($(PYTHON) deploy/bootstrap.py)" export --all-packages --frozen --no-emit-workspace --quiet \
		--output-file .flotilla/locked.txt
	@exec $(BIN)/pip-audit --requirement .flotilla/locked.txt --disable-pip --require-hashes \
		--strict --progress-spinner off \
		$$(awk -v today="$$(date +%F)" '/^[A-Z]/ && $$2 >= today {print "--ignore-vuln", $$1}' deploy/waived-advisories.txt)

release-check: environment lint
	@exec $(BIN)/python -m deploy.release_check

sbom: environment
	@"$$($(PYTHON) deploy/bootstrap.py)" export --all-packages --frozen --no-emit-workspace --no-dev --quiet \
		--output-file .flotilla/served.txt
	@exec $(BIN)/cyclonedx-py requirements .flotilla/served.txt --output-reproducible \
		--output-format JSON --output-file .flotilla/sbom.json

clean:
	@$(PYTHON) deploy/sandbox/src/sandbox/guardian.py stop .flotilla
	@rm -rf .flotilla

environment:
	@uv="$$($(PYTHON) deploy/bootstrap.py)" || exit 1; \
	UV_PYTHON="$$($(PYTHON) -c 'import sys; print(sys.executable)')"; export UV_PYTHON; \
	test -x $(BIN)/python || echo 'flotilla: installing the Python packages into $(VENV) (once, a minute or two)' >&2; \
	"$$uv" sync --all-packages --frozen --quiet
