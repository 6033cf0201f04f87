# make reproduce   results/paper/ from measurements: environment, workflow, report, summary
# make test        the same environment, then every check; the last line is pytest's
# make figures     the paper's figures alone
# make calibrations   fit the GPUs again and put the fits into the package
# make blind       predict what `gpu-validate campaign` would measure on the GPUs in BLIND, hashed, before it is measured
# make clean       remove results and caches; the environment stays
# ARGS goes to Snakemake: make reproduce ARGS="--configfile mine.yaml". PYTHON names an interpreter to use.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: reproduce test figures calibrations blind clean

INSTALLED := .venv/installed
REPORT := results/paper/report.html
BLIND ?= h200-sxm
SHAPES := results/blind-shapes
PYTHON ?= python3 python3.13 python3.12 python3.11 python
COMMA := ,
# lists of options end where the next option begins, so targets come first
SNAKEMAKE = python -m snakemake
QUIET = $(ARGS) --quiet host rules reason

export PATH := $(CURDIR)/.venv/bin:$(PATH)

# a half-made environment has no stamp and is made anew; an existing one only takes what changed
$(INSTALLED): requirements.txt pyproject.toml
	@if ! .venv/bin/python -c 'import pip' 2> /dev/null; then \
	  for name in $(PYTHON) none; do \
	    "$$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2> /dev/null && break; \
	  done; \
	  if [ "$$name" = none ]; then \
	    echo 'make: found no Python 3.11, 3.12 or 3.13 with the venv module; try: make PYTHON=/path/to/python3.12' >&2; exit 1; \
	  fi; \
	  "$$name" -m venv --clear .venv; \
	fi
	@echo 'Installing the pinned packages into .venv (minutes, the first time) ...'
	@python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

reproduce: $(INSTALLED)
	@$(SNAKEMAKE) $(QUIET)
	@if [ ! -e $(REPORT) ] || [ -n "$$(find results workflow -type f -newer $(REPORT) -print -quit)" ]; then \
	  $(SNAKEMAKE) --report $(REPORT) $(ARGS) --quiet all; \
	fi
	@python -m paper summary --results results

test: $(INSTALLED)
	python -m ruff check
	python -m ruff format --check
	python -m mypy
	python -m mypy --strict workflow/guard.py
	python -m snakefmt --check Snakefile workflow/rules
	python -m snakemake --lint
	OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

figures: $(INSTALLED)
	@$(SNAKEMAKE) figures $(QUIET)

calibrations: $(INSTALLED)
	@$(SNAKEMAKE) calibrations $(QUIET)
	@for file in results/calibration/*.json; do \
	  if [ "$$file" != results/calibration/local.json ]; then cp -v "$$file" scylla_sim/data/calibrations/; fi; \
	done

# the shapes that fit into each GPU; commit what this writes before anything is measured
blind: $(INSTALLED)
	@rm -rf $(SHAPES)
	@for gpu in $(subst $(COMMA), ,$(BLIND)); do \
	  python -m gpu_validate campaign --dry-run --hardware $$gpu --shapes $(SHAPES)/$$gpu > /dev/null; \
	  python -m scylla_sim blind --shapes $(SHAPES)/$$gpu --hardware $$gpu --out gpu_validate/recorded/blind; \
	done

clean:
	rm -rf results .snakemake build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
