# What people and CI call. Every pip call is held to constraints/all.txt; nothing here needs root but the programs that
# the tests of interoperability want, and those are installed only where apt can.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-input --constraint constraints/all.txt

.DEFAULT_GOAL := help
.PHONY: help demo test prove bench check docs clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/bin/python:
	@scripts/check-python $(PYTHON)
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints/all.txt | $(VENV)/bin/python
	@scripts/install "the gateway, the client and its inference engine (about 650 MB)" $(PIP) --editable '.[gateway,cpu,client]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints/all.txt | $(VENV)/bin/python
	@scripts/install "everything the tests need (about 2.3 GB)" $(PIP) --editable '.[gateway,cpu,client,train,export,dev]'
	@touch $@

demo: $(VENV)/.demo ## set up the gateway, send a synthetic study, show the answer (DEMO_EXIT=1: end after the result)
	@$(BIN)/python scripts/demo.py

check: $(VENV)/.dev ## formatting, lint, types, import rules, generated pages
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/make_docs.py --check

test: $(VENV)/.dev ## all tests in their short forms
	@scripts/install-test-programs
	@$(BIN)/python -m pytest -n 2 --dist loadgroup -q

prove: $(VENV)/.dev ## the long forms of the proofs: every real study, every kill point, memory
	@scripts/install-test-programs
	@$(BIN)/python -m pytest -m prove -q -rA

bench: $(VENV)/.dev ## the gateway beside a plain script and beside Orthanc; writes docs/results/bench.md (up to 15 minutes)
	@scripts/install-test-programs
	@$(BIN)/python -m tests.bench

docs: $(VENV)/.dev ## write the generated pages again
	@$(BIN)/python scripts/make_docs.py

clean: ## remove the environment and all state of the demo
	rm -rf $(VENV) var .cache
