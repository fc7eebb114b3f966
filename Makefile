# Every command of the project; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Test processes; 2 suit 2 cores.
TEST_PROCESSES ?= 2

RUN_STAMP := $(VENV)/.installed-run
TEST_STAMP := $(VENV)/.installed-test

.DEFAULT_GOAL := help
.PHONY: help demo services test test-quick screenshots lint format faults bench clean

help: ## list every command
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The recipe becomes the supervisor (exec), so that a signal to make ends everything.
demo: $(RUN_STAMP) ## serve on this machine with made-up patients (PORT, VAR_DIR, DEMO_PASSWORD)
	@exec $(BIN)/python manage.py demo

services: $(RUN_STAMP) ## run only PostgreSQL and Redis, for development
	@exec $(BIN)/python manage.py services

test: $(TEST_STAMP) ## run all tests against real PostgreSQL and Redis
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

test-quick: $(TEST_STAMP) ## run the tests that take no time
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadgroup -m "not slow"

faults: $(TEST_STAMP) ## kill workers, Redis and PostgreSQL under load; count what is left
	$(BIN)/python manage.py faults

bench: $(TEST_STAMP) ## measure speed, print a table, write benchmarks/results.json
	$(BIN)/python manage.py bench

screenshots: $(TEST_STAMP) ## keep a picture of every page of every role in screenshots/ (needs chromium)
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) tests/browser/test_every_page.py --screenshots screenshots

lint: $(TEST_STAMP) ## check style, format and types; list what is longest
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/python -m tests.longest

format: $(TEST_STAMP) ## put code into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove caches (not the state in var/, not the environment)
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis staticfiles test-results screenshots
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); print(end="" if ok else f"ChestX needs Python 3.11, 3.12 or 3.13, and {sys.executable} is {sys.version.split()[0]}. Say make PYTHON=python3.12 ...\n"); sys.exit(not ok)'
	@echo "Making the environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: on Debian, apt-get install python3-venv"; exit 1; }

$(RUN_STAMP): requirements-run.txt | $(BIN)/python
	@echo "Installing what the demo needs (once, a few minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-run.txt
	@touch $@

$(TEST_STAMP): requirements-run.txt requirements.txt requirements-test.txt | $(BIN)/python
	@echo "Installing what tests need (once, several minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	@touch $(RUN_STAMP) $@
