#!/usr/bin/env bash
# Run the tests, with the checks of style, types and architecture beside them, and fail where either does.
#
#   tools/run_tests.sh [ARGUMENT OF PYTEST...]
#
# The checks take one process a minute, the tests two for some more, so they are through before the tests are.
set -uo pipefail
cd "$(dirname "$0")/.."

checks_log=$(mktemp)
"${MAKE:-make}" --no-print-directory checks >"$checks_log" 2>&1 &
checks=$!
# in a script, jobs in the background do not hear Ctrl+C
trap 'kill "$checks" 2>/dev/null; rm -f "$checks_log"' EXIT

# Tests with and without a window at once, one process a core; see tests/conftest.py for their order. One thread
# each, for two processes with the threads of two are slower than either.
OMP_NUM_THREADS=1 tools/display.sh run .venv/bin/python -m pytest -n "${WORKERS:-2}" --dist=worksteal "$@"
tests_status=$?

wait "$checks"
checks_status=$?
echo
cat "$checks_log"
echo
[ "$tests_status" = 0 ] && echo "tests: passed" || echo "tests: FAILED, see above"
[ "$checks_status" = 0 ] && echo "checks (ruff, mypy, import-linter): passed" ||
    echo "checks (ruff, mypy, import-linter): FAILED, see above"
[ "$tests_status" = 0 ] && [ "$checks_status" = 0 ]
