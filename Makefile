# Two commands for a newcomer: `make demo` (see it work) and `make test` (see it proved).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 2

.PHONY: help install weights demo test coverage lint types imports wheel bench docs clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

install: $(STAMP)  ## create .venv and install with constraints.txt

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade -c constraints.txt pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,ray,sam,review,scans,dev]'
	touch $@

weights: install  ## fetch the weights of MobileSAM (45 MB) into the cache
	$(BIN)/naturalize weights fetch mobilesam

demo: install  ## a whole study on the built-in phantom; prints the path of the report
	$(BIN)/naturalize demo -o runs/demo

test: install  ## the test suite
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

coverage: install  ## which lines and branches the tests reach, room by room
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --cov --cov-report=term:skip-covered --cov-report=html

lint: install  ## style, formatting and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: install  ## static types
	$(BIN)/mypy

wheel: install  ## build the wheel and try it in a clean environment
	$(BIN)/python .ci/check_wheel.py

bench: install  ## every measured figure, as ratios against a named reference
	$(BIN)/python -m benchmarks

docs: $(STAMP)  ## build the documentation into site/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict

clean:  ## remove what the targets made, except the environment
	rm -rf runs dist build site htmlcov .coverage .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
