# Everything a person does with this repository; `.ci/run` calls the same.

PYTHON ?= python3
EXTRAS ?= embedded,completejourney,evaluation,learning,dev
SECONDS ?=
MINUTES ?= 60
RECORDS ?= 20000000
JSON ?=
HTML ?=

UV ?= uv

LOCKED = $(UV) pip compile --config-file requirements/uv.toml --quiet --generate-hashes --python-version 3.13 \
	--python-platform linux --no-header --no-annotate --no-emit-package torch
BIN := .venv/bin
INSTALLED := .venv/.installed
WARM := .venv/.warm

.DEFAULT_GOAL := help
.PHONY: help install warm check format test test-fast fuzz coverage demo bench drills soak evaluate docs site lock clean

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

install: $(INSTALLED) $(WARM) ## everything into .venv (PYTHON=python3.12 chooses another Python)
	@echo "installed: $(BIN)/crosscurrent --help"

warm: $(WARM) ## compile the kernels once; install does so

check: $(INSTALLED) ## style, types, which package may import which, generated pages, the docs site
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m streams.cli.docs --check
	$(MAKE) site

format: $(INSTALLED) ## put imports in order and lines in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(INSTALLED) $(WARM) ## all tests; on Apache Kafka too where KAFKA_HOME names one
	$(BIN)/pytest -n 2 --dist loadgroup

test-fast: $(INSTALLED) $(WARM) ## the tests that need no broker and less than ten seconds each
	$(BIN)/pytest -n 2 --dist loadgroup -m "not broker and not slow"

fuzz: $(INSTALLED) $(WARM) ## RECORDS (20000000) mutants at every decoder; what is refused in a new way joins tests/corpus
	FUZZ_RECORDS=$(RECORDS) FUZZ_SEED=$$(date +%s) FUZZ_KEEP=1 $(BIN)/pytest -n 2 tests/property/test_fuzz.py

coverage: $(INSTALLED) $(WARM) ## all tests, and which lines they do not reach (build/coverage; kernels run as machine code)
	$(BIN)/pytest -n 2 --dist loadgroup --cov --cov-report=term:skip-covered --cov-report=html:build/coverage

demo: $(INSTALLED) $(WARM) ## live suggestions for a simulated shop (SECONDS=45 ends by itself)
	$(BIN)/crosscurrent demo $(if $(SECONDS),--seconds $(SECONDS))

bench: $(INSTALLED) $(WARM) ## the worker against a bare stateful echo (JSON=FILE keeps the figures)
	$(BIN)/crosscurrent bench $(if $(KAFKA_HOME),--kafka) $(if $(JSON),--json $(JSON))

drills: $(INSTALLED) $(WARM) ## disturb workers under load in every way, hostile records too; nothing may be missing or wrong
	for drill in kill rolling pause swap hostile; do $(BIN)/crosscurrent drill $$drill $(if $(KAFKA_HOME),--kafka) || exit 1; done

soak: $(INSTALLED) $(WARM) ## bad records and kills by chance for MINUTES (60); figures and a plot of memory in build/
	mkdir -p build
	$(BIN)/crosscurrent drill soak $(if $(KAFKA_HOME),--kafka) --seconds $$(($(MINUTES) * 60)) --json build/soak.json

evaluate: $(INSTALLED) $(WARM) ## rankings beside those of the literature (TRAIN=FILE TEST=FILE; JSON=, HTML=FILE; see docs/evaluation.md)
	$(BIN)/crosscurrent evaluate next-item --train $(TRAIN) --test $(TEST) $(if $(JSON),--json $(JSON)) $(if $(HTML),--html $(HTML))

docs: $(INSTALLED) ## write the generated pages
	$(BIN)/python -m streams.cli.docs

site: $(INSTALLED) ## build the docs into build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

lock: ## choose the packages of the images, with hashes (UV=/path/to/uv; requirements/torch.lock is written by hand)
	echo "setuptools>=77" | $(LOCKED) - > requirements/build.lock
	$(LOCKED) pyproject.toml > requirements/worker.lock
	{ echo "-r torch.lock"; $(LOCKED) --extra learning pyproject.toml; } > requirements/trainer.lock
	$(LOCKED) --extra completejourney pyproject.toml > requirements/replay.lock

clean: ## remove what the other targets made
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find models streams tests -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here: Crosscurrent needs Python 3.11 or later; \
	make install PYTHON=/path/to/python3.12 chooses one."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Crosscurrent needs Python 3.11 or later, \
	and $(PYTHON) is `$(PYTHON) --version 2>&1`; make install PYTHON=/path/to/python3.12 chooses another."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (a minute or two, once)$(if $(PIP_EXTRA_INDEX_URL),,; on Linux \
	PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make install saves 2.7 GB of CUDA builds)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@

$(WARM): $(INSTALLED) $(shell find models streams/wire -name '*.py')
	@echo "compiling the kernels (three minutes, once)"
	@$(BIN)/python -m streams.warm
	@touch $@
