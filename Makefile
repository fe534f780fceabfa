# `make check` is what a change must pass; CI runs the test command of the README.
PYTHON ?= python

.PHONY: check format lint types test docs docs-site

check: lint types docs-site test

format:
	ruff format .
	ruff check --fix .

lint:
	ruff format --check .
	ruff check .

types:
	mypy

test:
	$(PYTHON) -m pytest

docs:
	$(PYTHON) docs/make_cli_reference.py
	$(PYTHON) docs/make_notebook_outputs.py

# Not --quiet: warnings that are not shown do not fail a strict build either.
docs-site:
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict
