#!/usr/bin/env bash
# Starts Label Studio on loopback with a clean environment: bare DEBUG, HOST or PORT variables would change the server.
# Needs: PLANKSEG_DIR (data, credentials.env) and LABEL_STUDIO_PORT. `plankseg up` and `make demo` set both.
set -euo pipefail
umask 077
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
server=${LABEL_STUDIO_BIN:-$here/../.venv-label-studio/bin/label-studio}
template=${LABEL_STUDIO_TEMPLATE:-$here/../.cache/label-studio.sqlite3}
: "${PLANKSEG_DIR:?set PLANKSEG_DIR to the working directory, for example demo}"
: "${LABEL_STUDIO_PORT:?set LABEL_STUDIO_PORT, for example 8080}"
[ -x "$server" ] || { echo "Label Studio is not installed at $server: run make setup." >&2; exit 1; }

data=$(cd "$PLANKSEG_DIR" && pwd)/label-studio
mkdir -p "$data"
chmod 700 "$data"
if [ ! -e "$data/label_studio.sqlite3" ] && [ -e "$template" ]; then
    cp "$template" "$data/label_studio.sqlite3.part"
    mv "$data/label_studio.sqlite3.part" "$data/label_studio.sqlite3"
fi

# shellcheck source=/dev/null
. "$PLANKSEG_DIR/credentials.env"
url="http://127.0.0.1:$LABEL_STUDIO_PORT"
# Nothing that was exported to us reaches the server. What it needs is exported, not given to `env` as arguments: these
# can be read by everyone in the list of processes.
for name in $(compgen -e); do export -n "$name"; done
for name in $(compgen -A function); do export -nf "$name"; done
export PATH HOME="$data" LANG=C.UTF-8
export LABEL_STUDIO_BASE_DATA_DIR="$data"
export LABEL_STUDIO_USERNAME LABEL_STUDIO_PASSWORD LABEL_STUDIO_USER_TOKEN="$PLANKSEG_LABEL_STUDIO_TOKEN"
export LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN=true LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK=true
# The one person who can sign in here may register a webhook to this machine: our relay.
export SSRF_PROTECTION_ENABLED=false
# The same for the assistant that answers clicks (`plankseg assist`).
export ML_BLOCK_LOCAL_IP=false
# Pages of other addresses may read nothing, and a name that another points to this machine (DNS rebinding) is refused.
export CORS_ALLOW_ALL_ORIGINS=false ALLOWED_HOSTS=127.0.0.1,localhost
export PYTHONPATH="$here/../deployments/label_studio_settings" DJANGO_SETTINGS_MODULE=plankseg_label_studio
export SENTRY_DSN="" FRONTEND_SENTRY_DSN="" LATEST_VERSION_CHECK=false COLLECT_ANALYTICS=false LOG_LEVEL=WARNING
exec "$server" start --no-browser --internal-host 127.0.0.1 --port "$LABEL_STUDIO_PORT" --host "$url" --log-level WARNING
