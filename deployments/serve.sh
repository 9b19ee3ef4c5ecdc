#!/usr/bin/env bash
# Waits for the Prefect server, deploys every flow (again: nothing is doubled) and runs a worker for them.
set -euo pipefail
: "${PREFECT_API_URL:?set PREFECT_API_URL, for example http://127.0.0.1:4200/api}"
: "${PLANKSEG_HOME:?set PLANKSEG_HOME to the checkout of plankseg}"
cd "$PLANKSEG_HOME"
for _ in $(seq 120); do
    python -c "import httpx; httpx.get('$PREFECT_API_URL/health', timeout=2, trust_env=False).raise_for_status()" 2>/dev/null && break
    sleep 1
done
prefect work-pool inspect local >/dev/null 2>&1 || prefect work-pool create local --type process
prefect --no-prompt deploy --all --prefect-file deployments/prefect.yaml
exec prefect worker start --pool local --name plankseg
