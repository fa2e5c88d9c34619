#!/bin/sh
# Installs the rivals that `make bench-server` measures: nats-server, redis-server and node from apt (as root), Bun and ws
# from npm, pinned, under target/tools. Whoever cannot be installed is told here and has rows that say `not run`.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=${CARGO_TARGET_DIR:-$root/target}/tools

missing=
for pair in nats-server:nats-server redis-server:redis-server node:nodejs npm:npm; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ]; then
        # shellcheck disable=SC2086
        "$root/tests/make/apt.sh" $missing ||
            echo "could not install$missing: what needs them will not be measured"
    else
        echo "to measure all rivals type: sudo tests/make/apt.sh$missing"
    fi
fi

js=$tools/server-bench-js
if ! cmp -s "$here/js/package-lock.json" "$js/installed-lock.json"; then
    mkdir -p "$js"
    cp "$here/js/package.json" "$here/js/package-lock.json" "$root/.npmrc" "$js/"
    # Bun is a binary in a package of its own for each machine: no script has to fetch it.
    if command -v npm >/dev/null && (cd "$js" && npm ci --ignore-scripts --loglevel=error); then
        cp "$here/js/package-lock.json" "$js/installed-lock.json"
    else
        echo "could not install bun and ws: they will not be measured"
    fi
fi
