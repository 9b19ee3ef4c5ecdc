#!/usr/bin/env bash
# Deploys every flow and runs a worker for them.
set -euo pipefail
umask 077 # what flows write, their user alone can read
bash "$(dirname "${BASH_SOURCE[0]}")/deploy.sh"
exec prefect worker start --pool local --name plankseg
