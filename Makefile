# make demo and make test each set up all that they need, in .venv, on a fresh machine.
# Another Python than python3: make PYTHON=/path/to/python3.12 test

PYTHON ?= python3
export PYTHON

BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-all screenshots lint checks format system venv-demo venv-test torture clean

help:
	@echo "make demo    set up, then show the finished result in napari (without a display: write it to demo/)"
	@echo "make test    set up, then run the tests but for the slow ones, beside the checks of style, types and architecture"
	@echo "make test-all  the same, with the slow tests: networks that learn to the end, the long kill tests"
	@echo "make lint    the checks without the tests"
	@echo "make screenshots  render every widget in its states into build/pictures"
	@echo "make format  let ruff put the code in order"
	@echo "make torture kill processes while they write, 200 times, and read 5,000 damaged files"
	@echo "make clean   remove .venv, demo/ and the caches"

demo: system venv-demo
	@if tools/display.sh present; then \
		$(BIN)/python -m napari_latentseg demo; \
	else \
		tools/display.sh run $(BIN)/python -m napari_latentseg demo --out demo; \
	fi

test: system venv-test
	MAKE="$(MAKE)" tools/run_tests.sh -m "not slow"

test-all: system venv-test
	MAKE="$(MAKE)" tools/run_tests.sh

screenshots: system venv-demo
	tools/display.sh run $(BIN)/python tools/screenshots.py --out build/pictures

lint: venv-test checks

checks:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: venv-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

torture: venv-test
	$(BIN)/python tools/torture.py --kills 200
	$(BIN)/python tools/torture_batch.py --kills 20
	$(BIN)/python tools/fuzz.py --count 5000

system:
	@tools/setup_env.sh system

venv-demo:
	@tools/setup_env.sh venv all

venv-test:
	@tools/setup_env.sh venv all,test,dev

clean:
	rm -rf .venv demo build dist
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
