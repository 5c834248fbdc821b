# Two commands are all it takes: `make demo` and `make test`. Both set up what is missing first.
VENV   := .venv
# Which Python .venv is made with: python3, unless another is given.
PYTHON ?=
export PYTHON

.PHONY: help setup setup-test demo test test-fast test-setup coverage check lint format lock bench clean

help:
	@echo "make demo    the main job, end to end, without an API key"
	@echo "make test    the whole test suite"
	@echo "make test-fast   the tests that start no process, in seconds"
	@echo "make test-setup  that ash can be installed in all ways, which takes minutes and a network"
	@echo "make coverage    the whole suite, and which lines it reaches; takes a third longer"
	@echo "make check   lint, types, tests: what CI runs"
	@echo "make lock    pin the dependencies anew"
	@echo "make setup   only what the others do first: a .venv with what runs, system packages"
	@echo "make setup-test   the same with what tests need"

setup:
	@sh tools/system-packages.sh
	@sh tools/setup.sh run

setup-test:
	@sh tools/system-packages.sh test
	@sh tools/setup.sh test

demo: setup
	@$(VENV)/bin/ash demo $(ARGS)

test: setup-test
	@$(VENV)/bin/pytest -m "not setup" --took "make test" $(ARGS)

test-fast: setup-test
	@$(VENV)/bin/pytest -q -m fast --took "make test-fast" $(ARGS)

test-setup: setup-test
	@$(VENV)/bin/pytest -v -m setup --took "make test-setup" $(ARGS)

coverage: setup-test
	@$(VENV)/bin/pytest -m "not setup" --cov --cov-report=term $(ARGS)

lint: setup-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

check: lint test test-setup

format: setup-test
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

lock: setup-test
	@sh tools/lock.sh

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .coverage*
