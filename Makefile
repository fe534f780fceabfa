# `make check` is what a change must pass; CI runs the test command of the README.
PYTHON ?= python

.PHONY: check format lint types test docs

check: lint types test

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
