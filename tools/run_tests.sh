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
tests_log=$(mktemp)
OMP_NUM_THREADS=1 tools/display.sh run .venv/bin/python -m pytest -n "${WORKERS:-2}" --dist=worksteal "$@" |
    tee "$tests_log"
tests_status=${PIPESTATUS[0]}

# napari 0.9 with Mesa's software rendering ends the process now and then while it draws (about once in several
# thousand tests, more often under load). Where nothing else failed, the tests that ran then are run again, alone.
crashed_line="^FAILED .* - worker '[^']*' crashed while running '\(.*\)'\$"
mapfile -t crashed < <(sed -n "s/$crashed_line/\1/p" "$tests_log")
failed_count=$(grep -cE '^(FAILED|ERROR) ' "$tests_log")
rm -f "$tests_log"
if [ "$tests_status" = 1 ] && [ "${#crashed[@]}" -gt 0 ] && [ "$failed_count" = "${#crashed[@]}" ]; then
    printf '\nA worker crashed; once more, alone:\n'
    printf '  %s\n' "${crashed[@]}"
    OMP_NUM_THREADS=1 tools/display.sh run .venv/bin/python -m pytest -m "" "${crashed[@]}"
    tests_status=$?
fi

wait "$checks"
checks_status=$?
echo
cat "$checks_log"
echo
[ "$tests_status" = 0 ] && echo "tests: passed" || echo "tests: FAILED, see above"
[ "$checks_status" = 0 ] && echo "checks (ruff, mypy, import-linter): passed" ||
    echo "checks (ruff, mypy, import-linter): FAILED, see above"
[ "$tests_status" = 0 ] && [ "$checks_status" = 0 ]
