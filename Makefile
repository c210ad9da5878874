# MedPsy, rerun. `make help` lists the targets; every target but help and clean sets up first what is missing.

PROFILE ?= mini
BUNDLE ?= notebooks/$(PROFILE).bundle
CORES ?= all
EXECUTOR ?= local
CLUSTER ?= setup/slurm/cluster.yaml
ifndef PYTHON
# the first that has the right version and can make a virtual environment; 3.11 is the one used most here
PYTHON := $(shell for python in python3.11 python3.12 python3.13 python3; do $$python -c "import ensurepip, sys, venv; \
	sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))" 2>/dev/null && command -v $$python && exit; done; echo python3)
endif
BIN := .venv/bin
# half of the time tests wait for servers; what tests of a file share is made once; tests/conftest.py orders the files
BESIDE = -n 2 --dist loadfile --no-loadscope-reorder --durations=10
ON_local = --cores $(CORES) --resources machine=1 --quiet all
ON_slurm = --executor slurm --profile $(CLUSTER) --quiet progress \
	--workflow-profile $(firstword $(wildcard setup/slurm/$(PROFILE).yaml) none)
# what reads the records of other sections, whichever there are
REST = $(notdir $(basename $(wildcard params/$(PROFILE)/11_*.yaml params/$(PROFILE)/14_*.yaml)))
LINT := { $(BIN)/ruff check . && $(BIN)/ruff format --check .; }

export PATH := $(CURDIR)/$(BIN):$(PATH)
export JUPYTER_PREFER_ENV_PATH := 1

ifeq ($(strip $(PROFILE)),)
$(error PROFILE is empty; leave it out for mini)
endif
ifndef ON_$(EXECUTOR)
$(error EXECUTOR=$(EXECUTOR) is neither local nor slurm)
endif

.DEFAULT_GOAL := help
.PHONY: help setup report replay keep test lab lint minihub bench bench-gpu clean

help: ## list the targets
	@echo "usage: make TARGET [PROFILE=mini|smoke|laptop|review|paper] [CORES=all|N] [EXECUTOR=local|slurm]" \
	"[BUNDLE=FILE] [PYTHON=/path/to/python3]"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18
	@echo "PROFILE chooses a folder of params/ (default: mini). What a run writes goes to outputs/PROFILE/."

setup: ## install what is missing: Python packages into .venv, llama.cpp tools into the user's cache
	@command -v $(PYTHON) >/dev/null || { echo "setup: no Python found. Install 3.11, 3.12 or 3.13 (Debian, Ubuntu: apt-get \
	install python3 python3-venv; macOS: brew install python@3.13) or say where it is: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) setup/install.py

report: setup ## run every notebook whose inputs changed, build the site, print where it is
	@started=$$(date +%s); \
	$(BIN)/snakemake $(ON_$(EXECUTOR)) --config profile=$(PROFILE) --nolock --rerun-incomplete --keep-going || { \
	for section in $(REST); do $(BIN)/medpsy run $$section --profile $(PROFILE); done; $(BIN)/medpsy site --profile $(PROFILE); \
	echo "Some sections failed (see above). The site shows the others; call make again to run the failed ones alone."; \
	exit 1; }; \
	echo "Site: $(CURDIR)/outputs/$(PROFILE)/report/index.html ($$(($$(date +%s) - started)) s)"

replay: setup ## make all tables, figures and the site from BUNDLE=FILE alone: no model, no network, no GPU
	@test -f "$(BUNDLE)" || { echo "replay: $(BUNDLE) is not there; say which: make replay BUNDLE=FILE [PROFILE=mini]"; exit 1; }
	@started=$$(date +%s); $(BIN)/medpsy store replay "$(BUNDLE)" --profile $(PROFILE) && \
	MEDPSY_REPLAY=1 $(BIN)/snakemake $(ON_local) --config profile=$(PROFILE) \
	--nolock --rerun-incomplete --forceall && $(BIN)/medpsy store compare "$(BUNDLE)" --profile $(PROFILE) && \
	echo "Site: $(CURDIR)/outputs/$(PROFILE)/report/index.html ($$(($$(date +%s) - started)) s)"

keep: setup ## put what the last `make report` (profile mini) shows into notebooks/, with its responses and what faults cost
	@$(BIN)/medpsy keep

test: setup ## check style, the notebooks' kept outputs and all tests that need no network, no GPU and no patience
	@failed=0; $(LINT) || failed=1; \
	$(BIN)/pytest $(BESIDE) tests || failed=1; exit $$failed

lab: setup ## open JupyterLab with the project's kernel
	@PYTHONWARNINGS="ignore:IProgress not found" $(BIN)/jupyter lab --notebook-dir=. notebooks

lint: setup ## check style and format
	@$(LINT)

minihub: setup ## retrain the miniature models (under an hour on two cores)
	@$(BIN)/python -m medpsy.mini.build

bench: setup ## measure speed against the raw engines and lm-evaluation-harness
	@$(BIN)/python -m bench

bench-gpu: setup ## measure what training reaches on this machine's GPU, and what holds it back
	@$(BIN)/python -m bench.gpu

clean: ## remove what PROFILE computed, except the stored responses
	@find outputs/$(PROFILE) -mindepth 1 -maxdepth 1 ! -name responses -exec rm -rf {} + 2>/dev/null; \
	rm -rf .snakemake .pytest_cache .ruff_cache; echo "Removed outputs/$(PROFILE), except its responses."
