#!/usr/bin/env bash
# Runs the quick tests with the Python environment $1 and the marks $2, and remembers on which files they have passed.
# With --unless-passed they are not repeated on the very same files: `make test` follows `make check` in .ci/run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$1 marks=$2 passed=.cache/quick-tests-passed

of_all_files() { # a hash of names and contents; nothing where git cannot list them
    git ls-files -z --cached --others --exclude-standard 2>/dev/null | xargs -0 -r sha256sum 2>/dev/null | sha256sum -
}

nothing=$(sha256sum </dev/null)
files=$(of_all_files) || true
if [ "${3:-}" = --unless-passed ] && [ -n "$files" ] && [ "$files" != "$nothing" ] && [ -f "$passed" ] &&
    [ "$(cat "$passed")" = "$files" ]; then
    echo "The quick tests have passed on these very files (make check): they are not repeated."
    exit 0
fi
mkdir -p "$(dirname "$passed")"
rm -f "$passed"
OMP_NUM_THREADS=1 "$venv/bin/pytest" -q -n 2 --quick -m "$marks"
echo "$files" >"$passed"
