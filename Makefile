# Two commands are all it takes: `make demo` and `make test`. Both set up what is missing first.
VENV   := .venv
PYTHON ?= python3
STAMP  := $(VENV)/.ash-setup

.PHONY: help setup system demo test coverage check lint format lock bench clean

help:
	@echo "make setup   a .venv with everything, system packages where possible"
	@echo "make demo    the main job, end to end, without an API key"
	@echo "make test    the whole test suite"
	@echo "make coverage  the same, and which lines it reaches; takes a third longer"
	@echo "make check   lint, types, tests: what CI runs"
	@echo "make lock    pin the dependencies anew"

setup: system $(STAMP)

system:
	@sh tools/system-packages.sh

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "ash needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned packages into $(VENV) …"
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup
	@$(VENV)/bin/ash demo $(ARGS)

test: setup
	@sh tools/system-packages.sh test
	@$(VENV)/bin/pytest $(ARGS)

coverage: setup
	@$(VENV)/bin/pytest --cov --cov-report=term $(ARGS)

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

check: lint test

format: setup
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

lock:
	uv pip compile pyproject.toml --all-extras --universal --generate-hashes \
	  --no-header --no-emit-index-url --upgrade -o requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .coverage*
