# make               install the pinned packages and this project into .venv
# make reproduce     measure, predict, and write results/paper/, the report and a summary
# make test          run every check; the last line is pytest's
# make prove         plant wrong formulas one by one, and list those that no test finds
# make coverage      run the tests and print the lines and branches that none of them reaches
# make figures       draw the paper's figures only
# make calibrations  fit the shipped calibrations again and copy them into the package
# make overheads     fit the overheads of engine presets to published runs again
# make between-sources  estimate the differences between published deployments again
# make serving-scalars  fit the scalars of engines on devices to halves of the measured serving runs again
# make frozen        predict the served runs and write their scores as the frozen ones; REASON says why
# make blind         predict and hash what `gpu-validate campaign` would measure on the GPUs in BLIND
# make docs          build the documentation as a site in site/
# make clean         remove results and caches, and keep .venv
# make test-slurm    run part of the workflow on a Slurm of one node; needs root and Debian's packages
# make help          print this list
# ARGS passes options to Snakemake: make reproduce ARGS="--configfile mine.yaml"
# VERBOSE=1 prints every job of Snakemake instead of one line with stage, jobs and time left
# PYTHON names the interpreter for .venv: make PYTHON=/path/to/python3.12

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: reproduce test prove coverage figures calibrations overheads between-sources serving-scalars frozen blind docs clean test-slurm help

INSTALLED := .venv/installed
DOCS_INSTALLED := .venv/docs-installed
TESTED := .venv/test-minutes
REPORT := results/paper/report.html
COMPLETE := results/complete
SOURCES := Makefile Snakefile $(INSTALLED) profiles workflow scylla_sim gpu_validate paper
BLIND ?= h200-sxm
SHAPES := results/blind-shapes
PYTHON ?= python3 python3.13 python3.12 python3.11 python
COMMA := ,
# Targets come before QUIET, because Snakemake would read them as values of its list options.
# The folder on PYTHONPATH holds the logger of this line, snakemake_logger_plugin_progress.
SNAKEMAKE = PYTHONPATH=workflow$${PYTHONPATH:+:$$PYTHONPATH} python -m snakemake
QUIET = $(ARGS) $(if $(VERBOSE),,--logger progress)

export PATH := $(CURDIR)/.venv/bin:$(PATH)

# An environment without pip is made anew. An existing one installs only what changed.
define ENVIRONMENT
	@if ! .venv/bin/python -c 'import pip' 2> /dev/null; then \
	  for name in $(PYTHON) none; do \
	    "$$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2> /dev/null && break; \
	  done; \
	  if [ "$$name" = none ]; then \
	    echo 'make: no Python 3.11, 3.12 or 3.13 with the venv module found; try make PYTHON=/path/to/python3.12' >&2; exit 1; \
	  fi; \
	  "$$name" -m venv --clear .venv; \
	fi
endef

$(INSTALLED): requirements.txt pyproject.toml
	$(ENVIRONMENT)
	@echo 'Installing the pinned packages into .venv (minutes, the first time) ...'
	@python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# A file or folder newer than the last complete run without ARGS starts Snakemake, which decides by content. A deleted
# file makes its folder newer.
reproduce: $(INSTALLED)
	@if [ -z "$(ARGS)$(VERBOSE)" ] && [ -e $(COMPLETE) ] \
	  && [ -z "$$(find $(SOURCES) results -newer $(COMPLETE) -not -name __pycache__ -not -name '*.pyc' -print -quit)" ]; then \
	  echo 'Nothing has changed since the last run.'; \
	else \
	  rm -f $(COMPLETE); \
	  $(SNAKEMAKE) $(QUIET); \
	  if [ ! -e $(REPORT) ] || [ -n "$$(find results workflow -type f -newer $(REPORT) -print -quit)" ]; then \
	    $(SNAKEMAKE) --report $(REPORT) $(ARGS) --quiet all; \
	  fi; \
	  if [ -z "$(ARGS)" ]; then touch $(COMPLETE); fi; \
	fi
	@python -m paper summary --results results
	@if [ -z "$(ARGS)" ]; then python workflow/printed_numbers.py results/paper README.md; fi

test: $(INSTALLED)
	@if [ -e $(TESTED) ]; then echo "The last complete make test took $$(cat $(TESTED)) min on this machine."; \
	else echo 'make test takes about 8 minutes on two free cores.'; fi
	@date +%s > $(TESTED).start
	python -m ruff check
	python -m ruff format --check
	python -m mypy
	MYPYPATH=workflow python -m mypy --strict workflow/commands.py \
	  workflow/snakemake_logger_plugin_progress/*.py workflow/disk.py workflow/guard.py workflow/killed_run.py workflow/scenarios.py workflow/sweeps.py \
	  workflow/fit_between_sources.py workflow/overhead_rows.py workflow/overhead_fit.py workflow/left_out.py \
	  workflow/fit_overheads.py workflow/fit_serving_scalars.py workflow/command_line_page.py workflow/theory_figures.py \
	  workflow/printed_numbers.py workflow/closed_form_errors.py workflow/fit_fp8_kv.py workflow/fit_full_pool.py workflow/fit_seat_wait.py \
	  workflow/fit_loop.py
	python -m mypy --strict --explicit-package-bases proof/prove.py proof/mutation.py proof/forked_pytest.py
	python -m snakefmt --check Snakefile workflow/rules
	OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
	@echo $$((($$(date +%s) - $$(cat $(TESTED).start) + 59) / 60)) > $(TESTED)

# A second run continues where the first one stopped. ARGS="--fresh --record" tries all anew and keeps the result.
prove: $(INSTALLED)
	@python -m proof.prove $(ARGS)

coverage: $(INSTALLED)
	@python -m coverage erase
	OMP_NUM_THREADS=1 python -m coverage run -m pytest -n 2 --dist loadfile --no-loadscope-reorder
	@python -m coverage combine --quiet
	@python -m coverage report

figures: $(INSTALLED)
	@$(SNAKEMAKE) figures $(QUIET)

calibrations: $(INSTALLED)
	@$(SNAKEMAKE) calibrations $(QUIET)
	@for file in results/calibration/*.json; do \
	  if [ "$$file" != results/calibration/local.json ]; then cp -v "$$file" scylla_sim/data/calibrations/; fi; \
	done

overheads: $(INSTALLED)
	@$(SNAKEMAKE) results/served/runs.json $(QUIET)
	@python workflow/fit_overheads.py results/served/runs.json paper/published scylla_sim/data

between-sources: $(INSTALLED)
	@$(SNAKEMAKE) results/left-out/served.json $(QUIET)
	@python workflow/fit_between_sources.py results/left-out/served.json scylla_sim/data/between_sources.toml

serving-scalars: $(INSTALLED)
	@$(SNAKEMAKE) results/serving/runs.json $(QUIET)
	@python workflow/fit_serving_scalars.py results/serving/runs.json scylla_sim/data/serving_scalars.toml

frozen: $(INSTALLED)
	@$(SNAKEMAKE) results/served/runs.json results/serving/runs.json $(QUIET)
	@python -m paper scores --results results --freeze "$(REASON)"

# Only the shapes that fit into each GPU are predicted. Commit the files before the GPU is measured.
blind: $(INSTALLED)
	@rm -rf $(SHAPES)
	@for gpu in $(subst $(COMMA), ,$(BLIND)); do \
	  python -m gpu_validate campaign --dry-run --hardware $$gpu --shapes $(SHAPES)/$$gpu > /dev/null; \
	  python -m scylla_sim blind --shapes $(SHAPES)/$$gpu --hardware $$gpu --out gpu_validate/recorded/blind; \
	done

# The pages need no torch, so this installs less than `make`, with the versions of requirements.txt.
$(DOCS_INSTALLED): requirements.txt requirements-docs.txt pyproject.toml
	$(ENVIRONMENT)
	@echo 'Installing the packages of the site into .venv (a minute or two, the first time) ...'
	@python -m pip install --quiet --disable-pip-version-check --requirement requirements-docs.txt --constraint requirements.txt
	@python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

docs: $(DOCS_INSTALLED)
	@python workflow/command_line_page.py > docs/command-line.md
	@python workflow/theory_figures.py docs/theory
	@zensical build --strict --clean
	@echo 'The site is in site/. Read it with: python -m http.server -d site'

test-slurm: $(INSTALLED)
	@python -m proof.slurm --out proof/slurm.json

clean:
	rm -rf results site docs/command-line.md .snakemake build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis htmlcov
	rm -f .coverage .coverage.*
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

help:
	@sed -n 's/^# //p; /^$$/q' $(MAKEFILE_LIST)
