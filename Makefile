# The two commands of the README, and the few that a contributor needs. Everything lives in .venv and .cache.

PYTHON ?= python3
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
# Tests use a store of their own, so that they never touch yours; it is kept, so that a second run is quick.
TEST_STORE := $(CURDIR)/.cache/store

.PHONY: demo test test-all check bench tools clean

demo: $(VENV)/.host
	$(BIN)/reprise demo examples/fashion-mnist.toml

test: tools $(VENV)/.trainer check
	REPRISE_STORE=$(TEST_STORE) $(BIN)/pytest

# All proofs, the long ones too; leaves its dated result in docs/test-all.txt, to be committed.
test-all: tools $(VENV)/.trainer check
	set -o pipefail; REPRISE_STORE=$(TEST_STORE) $(BIN)/pytest -m "long or not long" --disable-warnings --durations=10 \
	    | tee .cache/test-all.log
	{ echo "make test-all, $$(date -u +%Y-%m-%d), commit $$(git rev-parse --short HEAD), $$(nproc) cores"; \
	  tail -n 13 .cache/test-all.log; } > docs/test-all.txt

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	for file in benchmarks/*.py; do REPRISE_STORE=$(TEST_STORE) $(BIN)/python $$file || exit 1; done

tools:
	@scripts/test-tools --check

# The host side alone: what a user needs.
$(VENV)/.host: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.host
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/pip install --quiet --disable-pip-version-check --group dev
	@touch $@

# The trainer's tests run on the very wheels that the locks name, taken from the store: PyTorch's, and JAX beside it.
JAX := jax jaxlib ml_dtypes opt_einsum scipy \
       flax optax orbax_checkpoint tensorstore msgpack treescope absl_py etils humanize aiofiles simplejson
$(VENV)/.trainer: $(VENV)/.dev locks/torch-cpu/conda-lock.yml locks/jax-cpu/conda-lock.yml
	for name in torch-cpu jax-cpu; do \
	    REPRISE_STORE=$(TEST_STORE) $(BIN)/reprise fetch $$name --export .cache/artifacts/$$name || exit 1; \
	done
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-index .cache/artifacts/torch-cpu/*.whl
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-index \
	    $(foreach name,$(JAX),.cache/artifacts/jax-cpu/$(name)-[0-9]*.whl)
	@touch $@

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
