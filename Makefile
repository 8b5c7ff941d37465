# make demo    trains on music made here, scores and separates it, writes a report; needs only Python 3.11
# make test    lint, all tests on three backends, and a part of them where JAX alone is installed
# make bench   the scripts of benchmarks/
# Where it is set, each of the many processes would compile its modules anew.
unexport PYTHONDONTWRITEBYTECODE
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# pip would compile all modules in one process.
INSTALL := install -qq --disable-pip-version-check --no-compile
BACKENDS := tensorflow torch jax
# Two processes with a thread each are faster than one with two. A file stays in one of them, for its tests share what they made.
PYTEST := -m pytest --durations=10 --numprocesses=2 --dist=loadfile --no-loadscope-reorder

# Tests that never import Keras: run once, with a backend name that would make the import fail. All others run on each backend.
WITHOUT_KERAS := $(wildcard tests/audio tests/cli tests/config tests/data/builtin tests/data/counts tests/reporting tests/storage \
	tests/test_floors.py tests/test_house_rules.py)
# Tests that import Keras and compute nothing with it, and take long: run with torch, which is imported fastest.
ON_ONE_BACKEND := tests/parity/test_museval.py tests/workflows/test_count_baselines.py tests/workflows/test_import_command.py
# Tests that need no package beyond requirements/jax.txt and pytest: they show that no other backend leaks in.
JAX_ONLY := $(wildcard tests/cli tests/ops tests/layers tests/losses tests/metrics)

.PHONY: demo test test-without-keras $(BACKENDS:%=test-%) test-jax-only bench lint clean ffmpeg

demo: .venv/demo/installed
	.venv/demo/bin/kseparation demo --backend=tensorflow $(DEMO_FLAGS)

# First both environments, for pip keeps one core busy, and in the smaller one, which is there sooner, its tests; then one after the other what uses the larger.
test:
	@$(MAKE) --no-print-directory -j2 .venv/test/installed test-jax-only
	@$(MAKE) --no-print-directory -j1 lint test-without-keras $(BACKENDS:%=test-%)

lint: .venv/test/installed
	.venv/test/bin/ruff check .

test-without-keras: .venv/test/installed ffmpeg
	KERAS_BACKEND=none .venv/test/bin/python $(PYTEST) $(WITHOUT_KERAS)

$(BACKENDS:%=test-%): test-%: .venv/test/installed ffmpeg
	KERAS_BACKEND=$* .venv/test/bin/python $(PYTEST) --doctest-modules kseparation tests $(addprefix --ignore=,$(WITHOUT_KERAS) $(if $(filter torch,$*),,$(ON_ONE_BACKEND)))

test-jax-only: .venv/jax-only/installed
	! .venv/jax-only/bin/python -c "import tensorflow" 2>/dev/null
	! .venv/jax-only/bin/python -c "import torch" 2>/dev/null
	env -u KERAS_BACKEND .venv/jax-only/bin/kseparation models
	KERAS_BACKEND=jax .venv/jax-only/bin/python $(PYTEST) $(JAX_ONLY)

bench: .venv/test/installed
	for script in benchmarks/*.py; do .venv/test/bin/python $$script; done

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

ffmpeg:
	@command -v ffmpeg >/dev/null || { \
	  as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
	  echo "ffmpeg is missing; installing it"; \
	  $$as_root apt-get update -qq && $$as_root apt-get install -qq -y ffmpeg >/dev/null; } || \
	  { echo "error: the tests of mp3 and of MUSDB18 need ffmpeg. Install it and run make again."; exit 1; }

.venv/demo/installed: requirements/tensorflow.txt pyproject.toml
	$(call fresh_environment,.venv/demo,-r requirements/tensorflow.txt)

.venv/test/installed: requirements/test.txt pyproject.toml
	$(call fresh_environment,.venv/test,-r requirements/test.txt)

.venv/jax-only/installed: requirements/jax.txt requirements/test.txt pyproject.toml
	$(call fresh_environment,.venv/jax-only,-r requirements/jax.txt pytest pytest-xdist hypothesis -c requirements/test.txt)

# 1: folder, 2: what pip installs. A change of the pins makes a new environment, since pip removes nothing.
define fresh_environment
@echo "installing into $(1); this takes some minutes"
@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "error: Python 3.11 is needed: make PYTHON=...")'
@"$(PYTHON)" -m venv --clear $(1)
@$(1)/bin/python -m pip $(INSTALL) $(2)
@$(1)/bin/python -m pip $(INSTALL) --no-deps --no-build-isolation -e .
@$(1)/bin/python -m compileall -qq -j 0 -x "/tests?/" $(1)/lib || true  # some packages hold files for other versions of Python
@touch $@
endef
