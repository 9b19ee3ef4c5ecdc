#!/usr/bin/env bash
# Deploys every flow and runs a worker for them.
set -euo pipefail
umask 077 # what flows write, their user alone can read
bash "$(dirname "${BASH_SOURCE[0]}")/deploy.sh"
export PLANKSEG_RUNS_END_WITH_WORKER=$$ # else a run goes on alone where Ctrl-C leaves the worker no time to end it
exec prefect worker start --pool local --name plankseg
