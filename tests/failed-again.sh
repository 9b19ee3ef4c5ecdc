#!/usr/bin/env bash
# Runs the tests that failed in `make test` once more, one after the other, with the Python environment $1; names them.
# Only .ci/run does this. More than three failures are no accident of a busy machine: then nothing is repeated.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$1 most=3

# 1: every test ran, and some failed. After any other end, and before any, nobody knows what the others would have said.
if [ "$(cat .cache/tests-ended 2>/dev/null)" != 1 ]; then
    echo "make test did not run all its tests to their end, so nothing is run again." >&2
    exit 1
fi
failed=$("$venv/bin/python" -c 'import json, pathlib
path = pathlib.Path(".pytest_cache/v/cache/lastfailed")
print("\n".join(json.loads(path.read_text())) if path.exists() else "")')
count=$(grep -c . <<<"$failed" || true)
if [ "$count" -eq 0 ] || [ "$count" -gt "$most" ]; then
    echo "make test failed, $count tests by name; at most $most are run again alone." >&2
    exit 1
fi
echo "Failed beside other tests, now run again alone:"
echo "$failed"
OMP_NUM_THREADS=1 "$venv/bin/pytest" -n 0 --last-failed --last-failed-no-failures none
printf 'PASSED ALONE, FAILED BESIDE OTHERS (look into each: docs/decisions/0023):\n%s\n' "$failed"
