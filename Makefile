# The steps of continuous integration, each a target. Two of them are for newcomers: `run` and `test`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
PYTHON ?= python3
# Warnings of our own crate are errors in every step of the checks.
STRICT := RUSTFLAGS="-D warnings" RUSTDOCFLAGS="-D warnings"

# Quiet as long as all is well.
BUILD = $(BIN)/maturin develop --release --locked > $(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; exit 1; }

export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help  ## list the targets
help:
	@grep -E '^\.PHONY: .*## ' $(MAKEFILE_LIST) | sed -E 's/^\.PHONY: *([a-z-]+) *## */  \1|/' | column -t -s '|'

.PHONY: run  ## build, install, count this README, pull SmolLM2 and let it answer
run: install
	@echo && echo "nemo-fast count README.md" && $(BIN)/nemo-fast count README.md
	@echo && echo "nemo-fast chat smollm2-135m \"What is the capital of France?\" --temperature 0"
	@$(BIN)/nemo-fast chat smollm2-135m "What is the capital of France?" --temperature 0

.PHONY: test  ## all default tests and lints
test: lint tables test-rust test-python

.PHONY: test-long  ## the long profile: more examples, real models, every code point
test-long: dev-install
	$(BIN)/pip install --quiet --require-hashes -r requirements/integrations.txt
	PROPTEST_CASES=1000 cargo test --release --locked --quiet
	NEMO_FAST_TEST_PROFILE=long $(BIN)/python -m pytest -m "long or not long" --timeout 3600

# `--target` keeps the sanitizer out of build scripts and macros.
.PHONY: sanitize  ## AddressSanitizer over the unsafe parts of tokenizer, Arrow and engine; needs a nightly compiler
sanitize:
	RUSTFLAGS=-Zsanitizer=address cargo +nightly test --locked --quiet --target-dir target/sanitize \
	  --target x86_64-unknown-linux-gnu --lib --test rust -- tokenizer tekken budget arrow \
	  matmul int8 attention backend threads

.PHONY: lint  ## formatting, clippy, ruff, mypy
lint: $(VENV)/dev
	cargo fmt --check
	$(STRICT) cargo clippy --locked --quiet --all-targets
	$(STRICT) cargo clippy --locked --quiet --all-targets --features python
	$(STRICT) cargo doc --locked --quiet --no-deps
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mypy

.PHONY: tables  ## rebuild the vocabulary and the Unicode classes and compare them byte for byte
tables: $(VENV)/dev
	$(BIN)/python rust/tokenizer/make_tables.py --check

.PHONY: test-rust  ## the crate without Python
test-rust:
	$(STRICT) cargo test --locked --quiet

.PHONY: test-python  ## the package: stubs, doctests, tests
test-python: dev-install
	$(BIN)/python -m mypy.stubtest nemo_fast._native
	$(BIN)/python -m pytest

.PHONY: install  ## the release build, into the virtual environment
install: $(VENV)/run
	@$(BUILD)

.PHONY: wheel  ## a release wheel for this version of Python, in dist
wheel: $(VENV)/run
	$(BIN)/maturin build --release --locked --interpreter $(BIN)/python --out dist
	@ls -l dist

.PHONY: dev-install
dev-install: $(VENV)/dev
	@$(BUILD)

.PHONY: peers  ## what the benchmarks compare with, into the virtual environment
peers: dev-install
	$(BIN)/pip install --quiet --require-hashes -r requirements/peers.txt

.PHONY: lock  ## resolve requirements/*.in again
lock: $(VENV)/run
	$(BIN)/pip install --quiet uv
	rm -f requirements/*.txt
	$(COMPILE) requirements/dev.in -o requirements/dev.txt
	$(COMPILE) --constraint requirements/dev.txt requirements/run.in -o requirements/run.txt
	$(COMPILE) --constraint requirements/dev.txt requirements/peers.in -o requirements/peers.txt
	$(COMPILE) --constraint requirements/dev.txt requirements/integrations.in -o requirements/integrations.txt
	cargo update

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links --custom-compile-command "make lock"

.PHONY: clean  ## remove what the targets made
clean:
	rm -rf $(VENV) dist target python/nemo_fast/*.so

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The stamps are files in the environment: a changed lock file installs again, an unchanged one takes no time.
$(VENV)/run: requirements/run.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --require-hashes -r $<
	@touch $@

$(VENV)/dev: requirements/dev.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --require-hashes -r $<
	@touch $@
