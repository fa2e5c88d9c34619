#!/usr/bin/env bash
# Runs what docs/your-website.md prints: pages in Chromium, backends in their languages, nginx and Caddy before the server;
# and the proxies of docs/server.md, HAProxy among them.
# What cannot be had is `not run`, and why.
#
# ROOMCAST_BIN  the binary to test; built from this tree when unset
# CHROMIUM      the browser; found on the PATH when unset
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
tools=$target/tools
PATH=$PATH:/usr/local/go/bin:/usr/sbin
caddy=v2.11.4

"$root/tests/browser/setup.sh"
"$root/tests/sdk/setup.sh"
for proxy in nginx:nginx-light haproxy:haproxy; do
    if ! command -v "${proxy%:*}" >/dev/null && [[ $(id -u) == 0 ]]; then
        "$root/tests/make/apt.sh" "${proxy#*:}" >/dev/null || true
    fi
done
if [[ $(cat "$tools/caddy/installed" 2>/dev/null) != "$caddy" ]] && command -v go >/dev/null; then
    mkdir -p "$tools/caddy"
    modules=$(mktemp -d)
    if GOPATH=$modules/path GOCACHE=$modules/cache GOBIN=$tools/caddy GOFLAGS='-modcacherw -buildvcs=false' CGO_ENABLED=0 \
        go install -trimpath -ldflags='-s -w' "github.com/caddyserver/caddy/v2/cmd/caddy@$caddy" >"$tools/caddy/log" 2>&1; then
        echo "$caddy" >"$tools/caddy/installed"
    fi
    rm -rf "$modules"
fi
if [[ -x $tools/caddy/caddy ]]; then PATH=$PATH:$tools/caddy; fi

if [[ -z "${ROOMCAST_BIN:-}" ]]; then
    (cd "$root" && cargo build --locked -p roomcast-server --all-features)
    ROOMCAST_BIN=$target/debug/roomcast
fi
if [[ -z "${CHROMIUM:-}" ]]; then CHROMIUM=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true); fi
export ROOMCAST_BIN CHROMIUM PATH
export ROOMCAST_SDK_TOOLS=$tools/sdk-js ROOMCAST_BROWSER_TOOLS=$tools/browser
# The proxies' certificates are made for the test.
export NODE_TLS_REJECT_UNAUTHORIZED=0 NODE_NO_WARNINGS=1
exec timeout --kill-after=10 600 node --test --test-concurrency=1 --test-timeout=300000 --test-reporter=spec "$here"/*.test.mjs
