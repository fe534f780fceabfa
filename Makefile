# `make check` is what a change must pass; CI runs the test command of the README.
PYTHON ?= python

.PHONY: check format lint types test test-firefox test-server test-server-part docs docs-site

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

# The main flows of the page in a second engine, Debian's firefox-esr; CI has only the first.
test-firefox:
	$(PYTHON) -m pytest tests/page/test_firefox.py

# The suites over PostgreSQL: tests/on_server.py. CI runs the part of them where most of a storage is asked for.
SERVER_PART = $(patsubst %,tests/test_%.py,sync crash index exchange runs tags corrections thresholds lab_neighbours) \
	$(patsubst %,tests/web/test_%.py,classify search jobs)
SERVER_SUITES = $(SERVER_PART) $(patsubst %,tests/test_%.py,answers attribution beside_others bounds classify cli cli_lab \
	cli_vectors cli_words closing columnar deciding explain familiarity few_shot given intake interrupts \
	lab_duplicates lab_smooth large_index learning library library_eval map next once output plan reasons room scoring \
	seals several store_model temperature together unknown waiting words zero_shot) tests/web

test-server:
	ZSINDEX_TEST_LIBRARY=postgres $(PYTHON) -m pytest $(SERVER_SUITES)

test-server-part:
	ZSINDEX_TEST_LIBRARY=postgres $(PYTHON) -m pytest $(SERVER_PART)

docs:
	$(PYTHON) docs/make_cli_reference.py
	$(PYTHON) docs/make_notebook_outputs.py

# Not --quiet: warnings that are not shown do not fail a strict build either.
docs-site:
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict
