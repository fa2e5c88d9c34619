#!/usr/bin/env bash
# Lets schemathesis, which knows nothing but the description that the server serves of its API, look for answers that are not
# as described: some four minutes, or SECONDS_MAX. Says `not run` and why where it cannot be had.
#
# ROOMCAST_BIN  the binary to test; built from this tree when unset
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
tools=$target/tools/schemathesis
wanted=schemathesis==4.32.5

# One that was moved with its folder does not start.
if [[ $(cat "$tools/installed" 2>/dev/null) != "$wanted" ]] || ! "$tools/bin/schemathesis" --version >/dev/null 2>&1; then
    if python3 -m venv --clear "$tools" && "$tools/bin/pip" install -q --disable-pip-version-check --only-binary :all: "$wanted"; then
        echo "$wanted" >"$tools/installed"
    else
        echo "not run: $wanted cannot be installed"
        exit 0
    fi
fi
if [[ -z "${ROOMCAST_BIN:-}" ]]; then
    (cd "$root" && cargo build --locked -p roomcast-server --all-features)
    ROOMCAST_BIN=$target/debug/roomcast
fi

folder=$(mktemp -d)
cd "$folder"
cat >roomcast.toml <<'TOML'
[client]
allow_anonymous_connect_without_token = true
[http_api]
key = "key"
[channel.without_namespace]
history_size = 10
history_ttl = "1h"
presence = true
TOML
"$ROOMCAST_BIN" serve --config roomcast.toml --data-dir "$folder" --listen 127.0.0.1:0 >log 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" || true; rm -rf "$folder"' EXIT
until address=$(grep -oE 'listening on http://127\.0\.0\.1:[0-9]+' log | head -1); do
    kill -0 "$server" || { cat log; exit 1; }
    sleep 0.1
done

"$tools/bin/schemathesis" run "${address#listening on }/api/openapi.json" -H 'X-API-Key: key' --no-color --continue-on-failure \
    --phases examples,coverage,fuzzing --max-time "${SECONDS_MAX:-240}"
if grep -E 'panicked|ERROR' log; then exit 1; fi
kill "$server"
wait "$server"
