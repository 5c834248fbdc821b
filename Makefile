# Two commands are all it takes: `make demo` and `make test`. Both set up what is missing first.
VENV   := .venv
# The Python that .venv is made with. Default: python3.
PYTHON ?=
export PYTHON
# A file of tests stays in one process. More than four would only wait for each other.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile

.PHONY: help setup setup-test demo test test-fast test-setup coverage docs mutate check lint \
        format lock clean

help:
	@echo "make demo    the main job, end to end, without an API key"
	@echo "make test    the whole test suite"
	@echo "make test-fast   the tests that start no process, in seconds"
	@echo "make test-setup  test the installation itself; takes minutes and needs a network"
	@echo "make coverage    the whole suite, and which lines it reaches; takes a third longer"
	@echo "make docs    write the generated pages of the docs anew"
	@echo "make mutate  change the core at random, and tell what no test notices"
	@echo "make check   lint, types, tests: what CI runs"
	@echo "make lock    pin the dependencies anew"
	@echo "make setup   install what ash needs: a .venv and system packages"
	@echo "make setup-test   install what the tests need as well"

setup:
	@sh tools/system-packages.sh
	@sh tools/setup.sh run

setup-test:
	@sh tools/system-packages.sh test
	@sh tools/setup.sh test

demo: setup
	@$(VENV)/bin/ash demo $(ARGS)

test: setup-test
	@$(VENV)/bin/pytest -m "not setup" $(PARALLEL) --took "make test" $(ARGS)

test-fast: setup-test
	@$(VENV)/bin/pytest -q -m fast --took "make test-fast" $(ARGS)

test-setup: setup-test
	@$(VENV)/bin/pytest -v -m setup --took "make test-setup" $(ARGS)

coverage: setup-test
	@$(VENV)/bin/pytest -m "not setup" $(PARALLEL) --cov --cov-report=term $(ARGS)

lint: setup-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Ten minutes of random changes: which of them does no test notice?
docs: setup-test
	@$(VENV)/bin/python tools/reference.py

mutate: setup-test
	@$(VENV)/bin/python tools/mutate.py $(ARGS)

check: lint test test-setup

format: setup-test
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

lock: setup-test
	@sh tools/lock.sh

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .coverage*
