#!/usr/bin/env bash
# Deploys every flow and runs a worker for them.
set -euo pipefail
bash "$(dirname "${BASH_SOURCE[0]}")/deploy.sh"
exec prefect worker start --pool local --name plankseg
