# The commands of the README. Each one sets up what it needs; a second call installs nothing.
.DEFAULT_GOAL := help
.PHONY: help book check test test-cuda test-versions test-long lab execute record replication assignments question-bank slides fallbacks digits bench lighthouse lint requirements rename-repository clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# sphinxcontrib-katex finds Node on the PATH; the wheel puts it beside Python.
export PATH := $(CURDIR)/$(BIN):$(PATH)
JOBS ?= 2
# One thread for each of the workers: threads that compete for cores slow small networks tenfold.
TEST := OMP_NUM_THREADS=1 $(BIN)/pytest
SHARED := --numprocesses $(JOBS) --dist loadfile --durations 5
# Every notebook alone in an empty folder, with lrlib as a wheel; its outputs compared with the stored ones.
ALONE := _build/alone
NOTEBOOKS := PYTHONPATH=tests/book:$(CURDIR)/$(ALONE)/installed $(TEST) -p kernels_over_ipc --nbval --nbval-current-env --nbval-sanitize-with tests/book/nbval.cfg --nbval-cell-timeout 300 -o addopts= $(ALONE)/notebooks --dist loadfile --durations 5

help: ## Say what each command does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(f"Python 3.11 or newer is needed, not {v.major}.{v.minor}; name one with make PYTHON=python3.12 …" if v < (3, 11) else 0)'
	@echo "Setting up $(VENV): several GB on Linux, because torch comes with CUDA. Once."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt 2> $(VENV)/pip.log || { cat $(VENV)/pip.log; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable . 2>> $(VENV)/pip.log || { cat $(VENV)/pip.log; exit 1; }
	@touch $(READY)

book: $(READY) ## Build the site into _build/html; a warning is an error
	@$(BIN)/python book/tools/build.py

check: $(READY) ## Style, types and unit tests, in under a minute: before every commit
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check . && echo "ruff: clean"
	@$(BIN)/mypy
	$(TEST) tests --doctest-modules lrlib -m "not slow and not long" $(SHARED)

test: check ## That, then what is slower: the site built and tried, every notebook re-run and compared
	$(TEST) tests -m "slow and not long" $(SHARED)
	@$(BIN)/python tests/book/alone.py
	$(NOTEBOOKS) --numprocesses $(JOBS) -p forked_kernels

test-cuda: $(READY) ## The same notebooks and the tests that touch a device, on a GPU
	LRLIB_DEVICE=cuda $(TEST) tests/test_lr_dropout.py tests/lab/test_training.py tests/lab/test_sweep.py tests/lab/test_models.py tests/lab/test_data.py
	@$(BIN)/python tests/book/alone.py
	LRLIB_DEVICE=cuda $(NOTEBOOKS)

test-versions: $(READY) ## The unit tests on the oldest and newest torch and every installed Python
	@PYTHONPATH=tests $(BIN)/python tests/versions.py

test-long: $(READY) ## What takes too long for every change: nbgrader's rounds, kill -9, every notebook five times
	$(TEST) tests -m long --capture=no
	@$(BIN)/python tests/book/same_answer.py

lab: $(READY) ## Open the notebooks in JupyterLab
	@$(BIN)/jupyter lab chapters

execute: $(READY) ## Run all notebooks from clean kernels and store their outputs; NB=path for one
	@$(BIN)/python book/tools/execute.py $(NB)

record: $(READY) ## Run the recorded experiment of the notebook NB=path, which takes minutes
	@$(BIN)/python book/tools/record.py $(NB)

replication: $(READY) ## Chapter 6's published experiment, which needs a GPU and hours; ARGS=--help
	@$(BIN)/python book/tools/replication.py $(ARGS)

assignments: $(READY) ## Make the students' versions, and a course with the solutions; SEED=7 for other numbers
	@$(BIN)/python book/tools/assignments.py $(SEED)

question-bank: $(READY) ## Write all quizzes into one GIFT file, which Moodle and others import
	@$(BIN)/python book/tools/question_bank.py

slides: $(READY) ## Make a deck of slides for each chapter; needs the npm registry
	@$(BIN)/python book/tools/slides.py $(ARGS)

digits: $(READY) ## Write again the digits that the playground trains on
	@$(BIN)/python book/tools/digits.py

fallbacks: $(READY) ## Draw again what stands in an explorer's place where no script runs
	@$(BIN)/python book/tools/fallbacks.py

bench: $(READY) ## Measure lrlib against ordinary loops, side by side
	@$(BIN)/python tests/bench/bench.py

lighthouse: book ## Lighthouse's scores for four pages; needs Chromium and the npm registry
	@$(BIN)/python tests/book/lighthouse.py

lint: $(READY) ## Format the code, and check style and types
	@$(BIN)/ruff format . && $(BIN)/ruff check . && $(BIN)/mypy

requirements: $(READY) ## Renew every pin in requirements.txt from pyproject.toml
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-header --no-annotate --extra site --extra test --extra teach --extra frameworks --extra pins pyproject.toml --output-file $(VENV)/pins.txt
	@{ sed -n '/^#/p' requirements.txt; echo; cat $(VENV)/pins.txt; } > $(VENV)/requirements.txt && mv $(VENV)/requirements.txt requirements.txt
	@$(BIN)/python book/tools/binder_requirements.py

rename-repository: $(READY) ## Point every launch link, setup cell and citation at URL=https://github.com/owner/name
	@$(BIN)/python book/tools/rename_repository.py "$(URL)"

clean: ## Remove what was built (not the environment)
	@rm -rf _build
