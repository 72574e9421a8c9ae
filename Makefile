# The two commands: `make repro` runs the pipeline, `make test` the tests. Both make the environment first.
# SIGTERM, SIGHUP and Ctrl+C reach the stage at work through `python -m stages`, which is `dvc repro`.
# What else the project offers is the command `socrates`, which the environment installs.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)
# Where no NVIDIA GPU is found, torch comes without gigabytes of CUDA: make env TORCH_INDEX= takes the default build.
TORCH_INDEX ?= $(if $(shell command -v nvidia-smi),,https://download.pytorch.org/whl/cpu)
INSTALL := $(BIN)/python -m pip --quiet --quiet --no-input --disable-pip-version-check install

help:  ## what can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

env: $(VENV)/.ready  ## the environment in .venv
env-dev: $(VENV)/.ready-dev  ## the environment with the tools to work on the code

$(VENV)/.ready: requirements.txt pyproject.toml
	@echo "env: installing requirements.txt in $(VENV), some minutes the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -z "$(TORCH_INDEX)" || $(INSTALL) --retries 0 --no-deps --index-url "$(TORCH_INDEX)" \
		$$(grep ^torch== requirements.txt) 2>/dev/null \
		|| echo "env: no torch at $(TORCH_INDEX); the default index has the build with CUDA"
	@$(INSTALL) -r requirements.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements-dev.txt
	@echo "env: installing requirements-dev.txt"
	@$(INSTALL) -r requirements-dev.txt
	@touch $@

repro: env  ## run the pipeline: survey responses in, a scored adapter out
	@exec python -m stages

gsm8k: env  ## run the second pipeline: word problems in, a model that was rewarded for solving them out
	@exec python -m stages gsm8k/dvc.yaml

watch: env  ## a live view of a running training, from another shell
	@socrates watch

test: env-dev  ## run the tests, one worker a core
	OMP_NUM_THREADS=1 python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

check: env-dev  ## lint and types
	ruff check .
	ruff format --check .
	mypy

preset: env  ## write presets/NAME.yaml into params.yaml: make preset NAME=one-percent
	@socrates preset $(NAME)

compare: env  ## two runs, paired by cell: make compare A=rev B=rev (or workspace)
	@socrates compare $(A) $(B)

# An experiment of DVC for each value: $(call each,its name before the value,values,its parameters, with $$value).
define each
@for value in $(2); do \
	dvc exp remove --quiet $(1)-$$value 2>/dev/null; \
	dvc exp run --temp --name $(1)-$$value $(3) $(SET) || exit 1; \
done
endef

folds: K = 5
folds: env  ## cross-validation over studies, K runs and their table: make folds K=5 SET="-S train.max_steps=300"
	$(call each,fold,$$(seq 0 $$(($(K) - 1))),-S split.folds=$(K) -S split.fold=$$value)
	@socrates folds $$(seq --format fold-%g 0 $$(($(K) - 1)))

curve: KEY = sample.max_per_cell
curve: VALUES = 1 3 10 30
curve: SET = -S sample.by=cell
curve: env  ## a run for each value of a parameter, their table and figure: make curve KEY=lora.r VALUES="4 16" SET=
	$(call each,curve-$(KEY),$(VALUES),-S $(KEY)=$$value)
	@socrates curve $(KEY) $(VALUES:%=curve-$(KEY)-%)

paper-baseline: env  ## a local Git tag whose metrics are the paper's, for dvc metrics diff paper-baseline
	@socrates paper-baseline

readme: env  ## the figures of README.md, from metrics/ and the estimates, after a new default run
	@socrates readme

bench: env  ## the CPU benchmarks of docs/performance.md, a few minutes each
	python -m benchmarks.gpu --cpu --rounds 3

bench-gpu: env  ## the benchmarks of one GPU: seven tables, under nine minutes, fetches nothing
	python -m benchmarks.gpu

gpu-kit: env  ## an archive that runs bench-gpu on a machine without network
	python -m benchmarks.gpu_kit

.PHONY: help env env-dev repro gsm8k watch test check preset compare folds curve paper-baseline readme bench bench-gpu gpu-kit
