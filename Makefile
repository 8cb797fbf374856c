# make demo   environment, pocket backbone, the demo configuration, its metrics table (SIZE=full: a
#             task and rows more, three times as long)
# make compare  sixteen methods, three seeds, hours; ends with the tables of results/compare
# make test   environment and all tests
# make coverage  the same, and which lines no test runs
# make quick  the tests that need no backbone and no Snakemake, in under a minute
# make lock   envs/requirements.lock again, after an edit of requirements.txt
# make lint   ruff, mypy, snakefmt, snakemake --lint, the links of the documentation
# make docs   the documentation as a site in results/site
# make picture  the README's picture again, from the results of make demo
# make tiny   every stage on random weights and three tiny tasks
# make chaos  a tiny run with six methods, killed at KILLS=50 moments, against an undisturbed one
# make bench  benchmarks of the stages that touch many rows
# make image  container image with the dependencies (docker or podman, and apptainer)
# make test-cluster    the tiny stream on a real SLURM; needs slurm-wlm and munge
# make test-container  the tiny stream in the container; needs podman or docker, and apptainer
# make help   this list
# make clean  remove the results of demo, tiny and CI runs (nothing else)

PYTHON ?= python3.11
CORES ?= all
OUTPUT ?= results
DEVICE ?= cuda
KILLS ?= 50
SIZE ?= small
ENGINE ?= $(shell for e in docker podman; do $$e info > /dev/null 2>&1 && echo $$e && break; done)
# e.g. --volume for a mirror of packages (podman)
BUILD_OPTIONS ?=

BIN := .venv/bin
DEMO := $(if $(filter full,$(SIZE)),demo_full,demo)
SNAKEMAKE := $(BIN)/snakemake --profile workflow/profiles/local --cores $(CORES)
SMK := Snakefile workflow/Snakefile $(wildcard workflow/rules/*.smk)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE := cmit-pipeline:$(VERSION)
SIF := results/images/cmit-pipeline_$(VERSION).sif

# What loads no backbone family and starts no Snakemake.
QUICK := tests/core tests/tools tests/data_manifests tests/test_layers.py $(addprefix --ignore=tests/, \
	core/backbone/test_families.py core/model/test_continual.py core/training/test_tracking.py \
	tools/test_ask.py tools/test_convert_backbone.py tools/test_export.py tools/test_exported_folder.py \
	tools/test_general.py tools/test_measure.py tools/test_merged.py tools/test_picture.py tools/test_serve.py)

.PHONY: help demo compare docs picture test coverage quick lock test-cluster test-container lint tiny chaos bench image clean
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

help:
	@sed -n '/^PYTHON/q; s/^# //p' Makefile

# The lock's hashes hold for Linux and Python 3.11; elsewhere the same versions are installed without.
LOCKED := $(shell $(PYTHON) -c "import platform as p, sys; sys.exit(sys.version_info[:2] != (3, 11) \
	or (p.system(), p.machine()) not in [('Linux', 'x86_64'), ('Linux', 'aarch64')])" && echo yes)

.venv/runtime: envs/requirements.txt envs/requirements.lock envs/requirements-pocket.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(if $(LOCKED),$(BIN)/pip install --quiet --require-hashes --no-deps -r envs/requirements.lock)
	$(BIN)/pip install --quiet -r envs/requirements-pocket.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

.venv/dev: envs/requirements-dev.txt .venv/runtime
	$(BIN)/pip install --quiet -r $<
	touch $@

demo: .venv/runtime
	$(BIN)/python -m stages.pocket.assemble_backbone --out results/backbones/pocket
	$(SNAKEMAKE) --configfile workflow/config/$(DEMO).yaml
	@cat results/$(DEMO)/logs/score/score.log
	@echo "The report is $(CURDIR)/results/$(DEMO)/report.html"

compare: .venv/runtime
	$(BIN)/python -m stages.pocket.assemble_backbone --out results/backbones/pocket
	$(SNAKEMAKE) --configfile workflow/config/compare.yaml
	@cat results/compare/comparison.md
	@echo "The report is $(CURDIR)/results/compare/report.html"

test: .venv/dev
	$(BIN)/python -m pytest -n auto --dist loadfile

coverage: .venv/dev
	$(BIN)/python -m pytest -n auto --dist loadfile --cov=stages --cov-report=term:skip-covered

quick: .venv/dev
	$(BIN)/python -m pytest -n auto --dist loadfile $(QUICK)

lock: .venv/runtime
	$(BIN)/python envs/lock.py

test-cluster: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m cluster -rsP tests/cluster

test-container: .venv/dev
	$(MAKE) image DEVICE=cpu
	$(BIN)/python -m pytest -m container -rs tests/container

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check -l 100 $(SMK)
	$(BIN)/snakemake --lint
	$(BIN)/mkdocs build --strict

docs: .venv/dev
	$(BIN)/mkdocs build --strict
	@echo "The documentation is $(CURDIR)/results/site/index.html"

picture: .venv/runtime
	$(BIN)/cmit picture results/$(DEMO) docs/images/demo.svg

tiny: .venv/runtime
	$(SNAKEMAKE) --configfile workflow/config/tiny.yaml --config output=$(OUTPUT)

chaos: .venv/dev
	$(BIN)/python -m tests.chaos --kills $(KILLS)

bench: .venv/dev
	for file in tests/benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

image:
	@test -n "$(ENGINE)" || { echo "make image needs a running docker or podman" >&2; exit 1; }
	mkdir -p $(dir $(SIF))
	$(ENGINE) build $(BUILD_OPTIONS) --build-arg DEVICE=$(DEVICE) --build-arg VERSION=$(VERSION) \
		--build-arg PIP_EXTRA_INDEX_URL="$(PIP_EXTRA_INDEX_URL)" -t $(IMAGE) .
	$(ENGINE) save -o $(SIF:.sif=.tar) $(IMAGE)
	apptainer build --force $(SIF) docker-archive:$(SIF:.sif=.tar)
	rm $(SIF:.sif=.tar)

clean:
	rm -rf results/demo results/demo_full results/tiny results/ci
