# make demo and make test each set up all that they need, in .venv, on a fresh machine.
# Another Python than python3: make PYTHON=/path/to/python3.12 test

PYTHON ?= python3
export PYTHON

BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-all screenshots lint format system venv-demo venv-test torture clean

help:
	@echo "make demo    set up, then show the finished result in napari (without a display: write it to demo/)"
	@echo "make test    set up, then check style, types and architecture, and run the tests but for the slow ones"
	@echo "make test-all  the same, with the slow tests: networks that learn to the end, the long kill tests"
	@echo "make lint    the checks without the tests"
	@echo "make screenshots  render every widget in its states into docs/images"
	@echo "make format  let ruff put the code in order"
	@echo "make torture kill processes while they write, 200 times, and see whether anything is lost"
	@echo "make clean   remove .venv, demo/ and the caches"

demo: system venv-demo
	@if tools/display.sh present; then \
		$(BIN)/python -m napari_latentseg demo; \
	else \
		tools/display.sh run $(BIN)/python -m napari_latentseg demo --out demo; \
	fi

# Tests with and without a window at once, one process a core: worksteal gives each a stretch of neighbouring
# files, so that a module's viewer is opened once, and moves tests when one runs out. One thread each, for two
# processes with the threads of two are slower than either.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 tools/display.sh run $(BIN)/python -m pytest -n $(WORKERS) --dist=worksteal

test: system lint
	$(PYTEST) -m "not slow"

test-all: system lint
	$(PYTEST)

screenshots: system venv-demo
	tools/display.sh run $(BIN)/python tools/screenshots.py --out docs/images

lint: venv-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: venv-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

torture: venv-test
	$(BIN)/python tools/torture.py --kills 200

system:
	@tools/setup_env.sh system

venv-demo:
	@tools/setup_env.sh venv all

venv-test:
	@tools/setup_env.sh venv all,test,dev

clean:
	rm -rf .venv demo build dist
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
