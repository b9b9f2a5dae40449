# Everything that this project promises to run, on a machine with Python >= 3.11 and PyPI.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
KERAS_BACKEND ?= jax
export TF_CPP_MIN_LOG_LEVEL ?= 3
export TF_ENABLE_ONEDNN_OPTS ?= 0

.PHONY: demo test test-slow lint bench clean

demo: $(READY)  ## Train a two-branch model on real stereo patches; about two minutes
	KERAS_BACKEND=$(KERAS_BACKEND) $(BIN)/python examples/stereo.py --out demo

test: $(READY) lint  ## All tests, the slow ones in a short form, on every backend
	$(BIN)/python -m pytest
	for backend in jax tensorflow torch; do \
		KERAS_BACKEND=$$backend $(BIN)/python -m pytest tests/keras src/multifeed/keras || exit 1; \
	done

test-slow: export MULTIFEED_SLOW := 1
test-slow: test  ## The same, with soak, fuzz and fault tests at full length

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(READY)  ## Reproduce the figures of the README; about ten minutes
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python benchmarks/run.py

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[backends,dev]'
	touch $@

clean:
	rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache
