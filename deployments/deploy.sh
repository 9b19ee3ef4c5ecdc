#!/usr/bin/env bash
# Waits for the Prefect server and deploys every flow with its schedule and trigger (again: nothing is doubled, and what
# a person set there is kept).
set -euo pipefail
: "${PREFECT_API_URL:?set PREFECT_API_URL, for example http://127.0.0.1:4200/api}"
PLANKSEG_HOME=${PLANKSEG_HOME:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
PLANKSEG_PROJECT=${PLANKSEG_PROJECT:-plankseg}              # the trigger listens to events about this project
export PLANKSEG_HOME PLANKSEG_PROJECT
cd "$PLANKSEG_HOME"
is_up="import httpx; httpx.get('$PREFECT_API_URL/health', timeout=2, trust_env=False).raise_for_status()"
for _ in $(seq 120); do
    python -c "$is_up" 2>/dev/null && break
    sleep 1
done
prefect work-pool inspect local >/dev/null 2>&1 || prefect work-pool create local --type process
exec python -m flows.support.deploy
