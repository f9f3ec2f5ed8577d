# Every target sets up .venv by itself the first time (Python 3.11 or newer, pip, a network).
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PRESET ?= quick
OUT ?= reproduce-out

# Small matrices: one thread each is faster than two that wait for each other.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
# The build requirements are pinned too.
export PIP_CONSTRAINT ?= $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT ?= $(CURDIR)/constraints.txt

.PHONY: help reproduce test test-all pytest-all lint types docs bench wheel clean
help:
	@echo "make reproduce  the paper's three findings, as one HTML page ($(OUT)/report.html)"
	@echo "make test       lint, types and tests"
	@echo "make test-all   the same with the slow tests: long flows, compilers, clusters, faults"
	@echo "make wheel      dist/: a wheel with the kernels inside (x86-64 Linux), and a pure one"
	@echo "make lint | types | docs | bench | clean"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mirrorflow needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $(READY)

reproduce: $(READY)
	$(BIN)/mirrorflow reproduce --preset $(PRESET) --out $(OUT)

test: lint types
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not slow" --durations=50

# With `make -j 2` types are checked beside the tests.
test-all: lint types pytest-all

pytest-all: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal -q --durations=50

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(READY)
	for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

wheel: $(READY)
	MIRRORFLOW_WHEEL_KERNELS=1 $(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	ls -l dist

clean:
	rm -rf .venv dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
