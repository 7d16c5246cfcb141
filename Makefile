# `make up` and `make test` need python3 (3.11+), make and git on Debian 12; everything else is set up here.
STACK ?= dev
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: up down purge demo test check unit engine machines bench format

up: $(READY) ## the stack on the local cloud, ending with the line that visits it
	@$(BIN)/python -m toolchain host
	@scripts/up $(STACK)

down: $(READY) ## stop the local cloud; its disks and state stay for the next `make up`
	@$(BIN)/python -m sandbox down

purge: $(READY) ## stop the local cloud and forget everything in it
	@$(BIN)/python -m sandbox down --purge

demo: ## the whole story on the prod stack: visit, lose a member, heal, grow, roll out, roll back
	@$(MAKE) --no-print-directory up STACK=prod
	@$(BIN)/python -m demo

test: check $(READY) ## everything this machine can test; says loudly what it cannot
	@$(BIN)/python -m toolchain host
	@$(BIN)/python -m toolchain engine
	@tests/run

check: $(READY) ## format, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

unit: $(READY)
	@tests/run unit

engine: $(READY)
	@tests/run engine

machines: $(READY)
	@tests/run machines

bench: $(READY) ## the table of docs/benchmarks.md, measured on this machine
	@$(BIN)/python -m tests.bench

format: $(READY)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

$(READY): requirements-dev.txt pyproject.toml
	@scripts/setup $(PYTHON)
