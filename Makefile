# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What to install beside Imprint, e.g. EXTRAS=dev,alfworld (which compiles: it needs g++ and cmake).
EXTRAS ?= dev
STAMP := $(VENV)/.installed-$(EXTRAS)

.PHONY: help setup demo test test-slow lint format docs reference bench pretrain compare clean

help: ## Show the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## Make .venv with Imprint and its development tools.

# PyTorch goes first and pinned, so that the second line finds it. On Linux without a GPU the CPU build is the smaller
# download: make setup PIP_TORCH='--index-url https://download.pytorch.org/whl/cpu'
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_TORCH) torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $(STAMP)

demo: $(STAMP) ## The main job on the embedded default: two to three minutes on two cores.
	$(BIN)/imprint train recipes/demo.yaml --out runs/demo

# One process a core, each with one thread: more threads than cores wait for each other.
test: $(STAMP) ## Quick tests, on all cores.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

test-slow: $(STAMP) ## All tests, learning runs included.
	$(BIN)/python -m pytest -m ''

lint: $(STAMP) ## Format check, lint and types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP) ## Format and fix what can be fixed.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP) ## The documentation site, in build/docs; a broken link fails.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

reference: $(STAMP) ## Write docs/manual/reference.md from the command line.
	$(BIN)/python -m typer imprint.cli utils docs --name imprint --title "Command reference" --output docs/manual/reference.md

bench: $(STAMP) ## The benchmarks, one after the other.
	for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

pretrain: $(STAMP) ## Make the weights of imprint-tiny anew.
	$(BIN)/imprint pretrain recipes/pretrain/imprint-tiny.yaml --out src/imprint/models/tiny

NINE := closed_book imprint grpo skill0 skillrl open_book adaptmi skic zero_shot
compare: $(STAMP) ## The comparison in the README: hours.
	$(BIN)/imprint compare $(NINE:%=recipes/household/%.yaml) --set model=results/household/plain-base --out results/household

clean: ## Remove the environment and caches (runs stay).
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
