#!/bin/sh
# Runs the browser tests: headless Chromium against the server binary.
#
# ROOMCAST_BIN  the binary to test; built from this tree when unset
# CHROMIUM      the browser; found on the PATH when unset
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
tools=$target/tools/browser

# The SDK that pages use is that of the other tests.
"$here/setup.sh"
"$here/../sdk/setup.sh"

if [ -z "${ROOMCAST_BIN:-}" ]; then
    (cd "$root" && cargo build -p roomcast-server --features lab)
    ROOMCAST_BIN=$target/debug/roomcast
fi

if [ -z "${CHROMIUM:-}" ]; then
    for name in chromium chromium-browser google-chrome; do
        CHROMIUM=$(command -v "$name" || true)
        [ -z "$CHROMIUM" ] || break
    done
fi
if [ -z "$CHROMIUM" ]; then
    echo "no browser found: install chromium (make setup) or set CHROMIUM to its path" >&2
    exit 1
fi

export ROOMCAST_BIN CHROMIUM
export ROOMCAST_SDK_TOOLS="$target/tools/sdk-js"
export ROOMCAST_BROWSER_TOOLS="$tools" ROOMCAST_BROWSER_OUT="$target/browser"
mkdir -p "$ROOMCAST_BROWSER_OUT"
# Whatever happens, it ends: each test has a limit of its own, this is the limit of all.
exec timeout --kill-after=10 600 node --test --test-concurrency=1 "$@" "$here"/*.test.mjs
