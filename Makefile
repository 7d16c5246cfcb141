# `make up` and `make test` need python3 (3.11+), make and git on Debian 12; everything else is set up here.
STACK ?= dev
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: up down purge test check unit engine machines bench format

up: $(READY) ## the stack on the local cloud, ending with the line that visits it
	@$(BIN)/python -m toolchain host
	@scripts/up $(STACK)

down: $(READY) ## stop the local cloud; its disks and state stay for the next `make up`
	@$(BIN)/python -m sandbox down

purge: $(READY) ## stop the local cloud and forget everything in it
	@$(BIN)/python -m sandbox down --purge

test: check $(READY) ## everything this machine can test; says loudly what it cannot
	@$(BIN)/python -m toolchain host
	@$(BIN)/python -m toolchain engine
	@tests/run

check: $(READY) ## format, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

unit: $(READY)
	@$(BIN)/pytest -q -n auto -m "not engine and not machines"

engine: $(READY)
	@$(BIN)/pytest -q -m engine

machines: $(READY)
	@$(BIN)/pytest -q -m machines

bench: $(READY) ## the table of docs/benchmarks.md, measured on this machine
	@$(BIN)/python -m tests.bench

format: $(READY)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# Debian splits the venv module from python3; as root it is installed, otherwise the line to type is printed.
$(READY): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "python3 is older than 3.11; set PYTHON=/path/to/a/newer/one"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv; } || { echo "the venv module is missing: sudo apt-get install python3-venv"; exit 1; }
	@echo "Setting up $(VENV) (about a minute) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar off --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-build-isolation --no-deps --editable .
	@touch $@
