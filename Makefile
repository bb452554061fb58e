# Everything runs in .venv, which `make install` creates. Another interpreter: make install PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint type format clean

help:  ## Show this help
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(STAMP)  ## Create .venv and install the project with its tested dependencies

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(STAMP)

demo: install  ## Train Improved UNet on generated tissue, score it, draw the results (no download, minutes on a CPU)
	$(BIN)/python -m unet_exp.train experiment=demo

test: install  ## Run the quick tests (no network, no GPU)
	$(PYTEST) -m "not slow"

test-all: install  ## Run all tests
	$(PYTEST)

lint: install  ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: install  ## Check types
	$(BIN)/mypy

format: install  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove caches and generated demo data; keeps .venv and outputs
	rm -rf .pytest_cache .mypy_cache .ruff_cache dist build data/bcss_demo data/lesion_demo
	find unet_exp tests -name __pycache__ -type d -prune -exec rm -rf {} +
