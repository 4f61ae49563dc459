# Each target makes what it needs: a Python from 3.11.5 to 3.14 (with venv and pip) is enough to
# start; earlier ones match possessive regular expressions wrongly (python/cpython#106052).
# The environment holds exactly what requirements/dev.txt locks. Once it is made, no target but
# `lock` uses the network.

# Where to look for a Python; the first that fits is taken. `make test PYTHON=/opt/python3.13`
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11
# Passed on to the program behind a target. `make test ARGS='-k cache -x'`
ARGS ?=
# What `make report` reads.
LOGS ?= sample_logs

VENV = .venv
REPLAY_VENV = .venv-replay
LOCK_VENV = .venv-lock
BIN = $(VENV)/bin
PIP_INSTALL = pip --disable-pip-version-check --no-input install --quiet
# loadgroup keeps the tests of one built wheel on one worker, and starts with them.
PYTEST = $(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist loadgroup

# The tests must see the installed package, not whatever a shell happens to point at.
unexport PYTHONPATH PYTHONHOME PYTEST_ADDOPTS

.PHONY: help env report test test-slow test-replay check format bench lock clean FORCE

help:
	@echo 'make report       the whole answer for $(LOGS) (LOGS=folder for your own)'
	@echo 'make test         the tests (ARGS are passed to pytest)'
	@echo 'make check        format, lint, types and tests: what a change must pass'
	@echo 'make test-slow    the tests and the exhaustive ones, with many more random cases'
	@echo 'make test-replay  the tests that run a small model, in $(REPLAY_VENV) (torch for CPUs, 1 GB)'
	@echo 'make bench        the benchmarks'
	@echo 'make format       format the code and mend what the linter can'
	@echo 'make env          only make the environment, in $(VENV)'
	@echo 'make lock         lock the dependencies again (ARGS=--upgrade for newer ones; uses the network)'
	@echo 'make clean        remove environments, caches and builds'

env: $(VENV)/.ready

report: $(VENV)/.ready
	@$(BIN)/forkpoint report $(LOGS) $(ARGS)

test: $(VENV)/.ready
	$(PYTEST) -m 'not slow' $(ARGS)

test-slow: $(VENV)/.ready
	$(PYTEST) --hypothesis-profile thorough $(ARGS)

# The model is small: two processes of one thread run it faster than one of two.
test-replay: $(REPLAY_VENV)/.ready
	OMP_NUM_THREADS=1 $(REPLAY_VENV)/bin/pytest --numprocesses auto --maxprocesses 2 --dist loadfile \
	  tests/replay tests/test_replay_extra.py $(ARGS)

check: $(VENV)/.ready
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(PYTEST) -m 'not slow' $(ARGS)

format: $(VENV)/.ready
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(VENV)/.ready
	$(BIN)/python benchmarks/run.py $(ARGS)

# An environment is made from nothing or not at all: .locked, written last, says that it is whole.
# It names the folder it was made for, so that a moved or copied checkout gets one of its own.
ifneq ($(shell test -x $(BIN)/python && test "`cat $(VENV)/.locked 2>/dev/null`" = "`pwd -P`" && echo whole),whole)
$(VENV)/.locked: FORCE
endif

ifneq ($(shell test -x $(REPLAY_VENV)/bin/python && test "`cat $(REPLAY_VENV)/.locked 2>/dev/null`" = "`pwd -P`" && echo whole),whole)
$(REPLAY_VENV)/.locked: FORCE
endif

# $(call make_venv,folder,requirements): everything it says goes to stderr, as stdout is the target's.
# Wheels only: building from source would fetch build tools that no hash locks. Bytecode is left to
# first use, as most of it never is.
define make_venv
@{ rm -rf $(1); python=; \
for candidate in $(PYTHON); do \
  if "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11, 5) <= sys.version_info[:3] < (3, 15))' 2>/dev/null; \
  then python=$$candidate; break; fi; \
done; \
if [ -z "$$python" ]; then \
  echo 'No Python from 3.11.5 to 3.14 with venv and pip among: $(PYTHON). Name one: make PYTHON=/path/to/python'; exit 1; \
fi; \
echo "Making $(1) with $$("$$python" --version), from $(2) (once; a minute or less) ..."; \
"$$python" -m venv $(1) && \
$(1)/bin/python -m $(PIP_INSTALL) --no-compile --require-hashes --no-deps --only-binary :all: -r $(2); } >&2
endef

$(VENV)/.locked: requirements/dev.txt
	$(call make_venv,$(VENV),$<)
	@pwd -P > $@

$(VENV)/.ready: $(VENV)/.locked pyproject.toml
	@PYTHONWARNINGS=ignore $(BIN)/python -m $(PIP_INSTALL) --no-index --no-deps --no-build-isolation --editable . >&2
	@touch $@

$(REPLAY_VENV)/.locked: requirements/replay.txt
	$(call make_venv,$(REPLAY_VENV),$<)
	@$(REPLAY_VENV)/bin/python -c 'import torch' || \
	{ echo 'This torch wants CUDA libraries, which are not locked: see requirements/torch.txt'; exit 1; } >&2
	@pwd -P > $@

$(REPLAY_VENV)/.ready: $(REPLAY_VENV)/.locked pyproject.toml
	@PYTHONWARNINGS=ignore $(REPLAY_VENV)/bin/python -m $(PIP_INSTALL) --no-index --no-deps --no-build-isolation --editable . >&2
	@touch $@

$(LOCK_VENV)/.locked: requirements/lock.txt
	$(call make_venv,$(LOCK_VENV),$<)
	@touch $@

# Keeps the versions that still fit; ARGS=--upgrade, or ARGS='--upgrade-package NAME', moves them.
COMPILE = $(LOCK_VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 \
  --fork-strategy fewest --generate-hashes --no-emit-index-url --annotation-style line \
  --custom-compile-command 'make lock' $(ARGS)

lock: $(LOCK_VENV)/.locked
	$(COMPILE) pyproject.toml --output-file requirements/run.txt
	$(COMPILE) pyproject.toml --group dev --constraint requirements/run.txt --output-file requirements/dev.txt
	$(COMPILE) --group lock --output-file requirements/lock.txt
	$(COMPILE) pyproject.toml --extra replay --group replay --constraint requirements/dev.txt --constraint requirements/torch.txt --no-emit-package torch --output-file requirements/replay.txt
	cat requirements/torch.txt >> requirements/replay.txt

clean:
	rm -rf $(VENV) $(REPLAY_VENV) $(LOCK_VENV) build dist src/*.egg-info *.egg-info tests/actual
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src cli parsers analysis tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
