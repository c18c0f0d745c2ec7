# Everything happens inside this checkout, in .venv: `make demo` and `make test` work on a machine that has git, make and
# Python 3.11 or newer, and nothing else. `make PYTHON=/path/to/python3` chooses the interpreter.

ifndef PYTHON
PYTHON := $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
endif
# Compiled once, and not in each of the many processes that the tests start.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
ARGS ?=
WORKERS ?= -n auto

.PHONY: help demo test check docs clouds engine engine-stop browser format clean
.DEFAULT_GOAL := help

define setup
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found (apt install python3.11, or make PYTHON=…)" >&2; exit 1; }
	@$(PYTHON) -I tools/bootstrap.py $(1)
endef

help: ## What can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

demo: ## A recursive language model over Python's own standard library; needs no key (ARGS="--environment local")
	$(call setup,run)
	@$(BIN)/rlm demo --log logs $(ARGS)

test: ## The tests; no network, no key (ARGS="-k wire", WORKERS= for one at a time)
	$(call setup,test)
	@$(PYTHON) -I tools/engine.py while -- $(BIN)/python -m pytest $(WORKERS) $(ARGS)

check: ## Lint, format, types, tests
	$(call setup,dev)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/basedpyright
	@$(PYTHON) -I tools/engine.py while -- $(BIN)/python -m pytest $(WORKERS) $(ARGS)

engine: ## Install and start a container engine for the tests (Debian, root); make engine-stop ends it
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found (apt install python3.11, or make PYTHON=…)" >&2; exit 1; }
	@$(PYTHON) -I tools/engine.py start

engine-stop: ## End that engine, and remove all it made
	@$(PYTHON) -I tools/engine.py stop

docs: ## The documentation as a site, in build/site; a broken link or an undocumented public name is an error
	$(call setup,docs)
	@$(BIN)/python -m sphinx -q -E -W --keep-going -b html -d build/doctrees docs build/site
	@echo "file://$(CURDIR)/build/site/index.html"

clouds: ## The virtual environments of the cloud SDKs, which the tests else make themselves
	$(call setup,test)
	@$(BIN)/python tests/clouds/_venv.py

browser: ## Install a browser for the viewer's tests (Debian, root)
	@command -v chromium >/dev/null || \
		{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null || \
			{ echo "make: no chromium; as root on Debian: apt-get install chromium" >&2; exit 1; }; \
		echo "make: installing chromium …" >&2; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium >/dev/null; }

format: ## Format the code and fix what can be fixed
	$(call setup,dev)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## Remove everything that make made
	rm -rf .venv .venvs .mypy_cache .ruff_cache .pytest_cache .hypothesis logs dist build
