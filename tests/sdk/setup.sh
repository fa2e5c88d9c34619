#!/bin/sh
# Installs the clients that the tests drive, pinned, under target/tools; nothing is written into the tree and nothing
# needs root. As long as the lists are the ones that were installed, there is nothing to do.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=${CARGO_TARGET_DIR:-$root/target}/tools

js=$tools/sdk-js
if ! cmp -s "$here/js/package-lock.json" "$js/installed-lock.json"; then
    mkdir -p "$js"
    cp "$here/js/package.json" "$here/js/package-lock.json" "$root/.npmrc" "$js/"
    (cd "$js" && npm ci --ignore-scripts --loglevel=error)
    cp "$here/js/package-lock.json" "$js/installed-lock.json"
fi

python=$tools/sdk-python
if ! cmp -s "$here/python/requirements.txt" "$python/installed.txt"; then
    python3 -m venv --clear "$python"
    "$python/bin/pip" install -q --disable-pip-version-check --no-deps --only-binary :all: \
        -r "$here/python/requirements.txt"
    cp "$here/python/requirements.txt" "$python/installed.txt"
fi

manifest=$here/rust/Cargo.toml
cargo fetch -q --locked --offline --manifest-path "$manifest" 2>/dev/null || cargo fetch --locked --manifest-path "$manifest"
