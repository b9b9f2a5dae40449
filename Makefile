# Everything that this project promises to run, on a machine with Python >= 3.11 and PyPI.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
KERAS_BACKEND ?= jax
BENCH_RESULT ?= benchmarks/results/$(shell date +%F).json
export TF_CPP_MIN_LOG_LEVEL ?= 3
export TF_ENABLE_ONEDNN_OPTS ?= 0
# Threads of PyTorch that wait for each other do not keep the processors from other tests meanwhile.
export OMP_WAIT_POLICY ?= PASSIVE
# Tests start a thousand interpreters: what one has compiled, the others need not.
export PYTHONDONTWRITEBYTECODE :=
# As many tests at once as there are processors. Those of one `xdist_group` share what is costly to set up.
# The slowest are told, so that they are noticed.
AT_ONCE := --numprocesses auto --dist loadgroup --durations 20

.PHONY: demo test test-slow coverage lint docs bench clean

demo: $(READY)  ## Train a two-branch model on real stereo patches; about two minutes
	KERAS_BACKEND=$(KERAS_BACKEND) $(BIN)/python examples/stereo.py --out demo

test: $(READY) lint docs  ## All tests, the slow ones in a short form, on every backend
	$(BIN)/python -m pytest $(AT_ONCE)
	for backend in jax tensorflow torch; do \
		KERAS_BACKEND=$$backend $(BIN)/python -m pytest $(AT_ONCE) tests/keras src/multifeed/keras || exit 1; \
	done

test-slow: export MULTIFEED_SLOW := 1
test-slow: test  ## The same, with soak, fuzz and fault tests at full length

COVERAGE := -m coverage run -m pytest -p no:cacheprovider
coverage: $(READY)  ## Which branches the tests reach, in all processes and on all backends; half an hour
	rm -rf build/coverage && mkdir -p build/coverage
	-$(BIN)/python $(COVERAGE) -k "not test_a_limit_of_file_sizes and not test_ctrl_c_at_any_moment"
	-for backend in jax tensorflow torch; do \
		KERAS_BACKEND=$$backend $(BIN)/python $(COVERAGE) tests/keras src/multifeed/keras; \
	done
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(READY)  ## The documentation as a site, in build/docs; a warning is an error
	$(BIN)/sphinx-build -q -W --keep-going -n docs build/docs

bench: $(READY)  ## Reproduce the figures of the README; about 45 minutes on two idle cores
	$(BIN)/python -m pip install --quiet --editable '.[backends,bench]'
	$(BIN)/python benchmarks/run.py --json $(BENCH_RESULT)

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[backends,dev,docs]'
	touch $@

clean:
	rm -rf $(VENV) build demo .mypy_cache .ruff_cache .pytest_cache
