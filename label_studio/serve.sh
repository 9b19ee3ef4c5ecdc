#!/usr/bin/env bash
# Starts Label Studio on loopback with a clean environment: bare DEBUG, HOST or PORT variables would change the server.
# Needs: PLANKSEG_DIR (data, credentials.env) and LABEL_STUDIO_PORT. `plankseg up` and `make demo` set both.
set -euo pipefail
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
# SSRF_PROTECTION_ENABLED=false lets the one person who can sign in here register a webhook to this machine: our relay.
url="http://127.0.0.1:$LABEL_STUDIO_PORT"
exec env -i PATH="$PATH" HOME="$data" LANG=C.UTF-8 \
    LABEL_STUDIO_BASE_DATA_DIR="$data" \
    LABEL_STUDIO_USERNAME="$LABEL_STUDIO_USERNAME" \
    LABEL_STUDIO_PASSWORD="$LABEL_STUDIO_PASSWORD" \
    LABEL_STUDIO_USER_TOKEN="$PLANKSEG_LABEL_STUDIO_TOKEN" \
    LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN=true \
    LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK=true \
    SSRF_PROTECTION_ENABLED=false \
    SENTRY_DSN= FRONTEND_SENTRY_DSN= LATEST_VERSION_CHECK=false COLLECT_ANALYTICS=false LOG_LEVEL=WARNING \
    "$server" start --no-browser --internal-host 127.0.0.1 --port "$LABEL_STUDIO_PORT" --host "$url" --log-level WARNING
