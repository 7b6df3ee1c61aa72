# Two commands do everything: `make quickstart` (the main job, on a real model) and `make test`.
# TORCH=cuda installs the CUDA build of torch instead of the small CPU one.
PYTHON ?= $(shell command -v python3.11 || echo python3)
TORCH ?= cpu
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := $(if $(filter cpu,$(TORCH)),-c constraints-cpu.txt)
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: install develop quickstart test test-slow kill-harness kill-cluster check docs browse versions clean help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

$(VENV)/.installed: pyproject.toml constraints-cpu.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet $(CONSTRAINTS) --editable .
	@touch $@

$(VENV)/.developed: pyproject.toml constraints-cpu.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet $(CONSTRAINTS) --editable . --group dev
	@touch $(VENV)/.installed $@

install: $(VENV)/.installed  ## what a user needs, in .venv

develop: $(VENV)/.developed  ## and what the tests and checks need

quickstart: $(VENV)/.installed  ## a real model learns two things; the report says what it forgot
	$(BIN)/retain run quickstart

test: $(VENV)/.developed  ## every test under twenty seconds, with coverage, a file of tests to a core
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --cov --cov-report=term:skip-covered -q

kill-harness: $(VENV)/.developed  ## kills, signals and full disks at every file event of every kind of step
	$(BIN)/python -m tests.kills.harness

kill-cluster: $(VENV)/.developed  ## kills of workers, nodes and drivers on a Ray cluster of two nodes; as root also cut networks
	$(BIN)/python -m tests.kills.on_cluster

test-slow: $(VENV)/.developed  ## the slow tests: real models, kills of whole runs
	$(BIN)/python -m pytest -q -m slow --ignore=tests/kills

check: $(VENV)/.developed  ## style, types, import contracts, generated docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

docs: $(VENV)/.developed  ## write the generated parts of docs/ again
	$(BIN)/python docs/generate.py

RUN ?= runs/quickstart
browse: $(VENV)/.developed  ## open the report of RUN (runs/quickstart) in Chromium and say what is wrong
	$(BIN)/python -m pip install --quiet --group browser
	$(BIN)/python docs/browse.py $(RUN)/report.html

versions: $(VENV)/.developed  ## confirm that changed sources leave results as they were
	$(BIN)/python -m tests.confirm_versions

clean:  ## remove the environment and every run
	rm -rf $(VENV) runs .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
