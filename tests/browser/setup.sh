#!/bin/sh
# Installs what drives the browser, pinned, under target/tools. As long as the list is the one that was installed, there is
# nothing to do.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=${CARGO_TARGET_DIR:-$root/target}/tools/browser

if ! cmp -s "$here/package-lock.json" "$tools/installed-lock.json"; then
    mkdir -p "$tools"
    cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$tools/"
    (cd "$tools" && npm ci --loglevel=error)
    cp "$here/package-lock.json" "$tools/installed-lock.json"
fi
