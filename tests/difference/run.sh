#!/usr/bin/env bash
# Plays the same scripts to Centrifugo and to roomcast; words as arguments narrow them. Says `not run` and why where there is
# no Centrifugo to be had.
#
# ROOMCAST_BIN  the binary to test; built from this tree when unset
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}

if ! reason=$("$here/setup.sh"); then
    echo "not run: $reason"
    exit 0
fi
"$root/tests/sdk/setup.sh"
if [[ -z "${ROOMCAST_BIN:-}" ]]; then
    (cd "$root" && cargo build --locked -p roomcast-server --all-features)
    ROOMCAST_BIN=$target/debug/roomcast
fi
export ROOMCAST_BIN CENTRIFUGO_BIN=$target/tools/centrifugo/centrifugo PYTHONDONTWRITEBYTECODE=1

page=
if [[ -n "${ROOMCAST_WRITE_PAGE:-}" ]]; then
    page=$ROOMCAST_WRITE_PAGE
    cat >"$page" <<PAGE
# make difference

The same scripts, played to Centrifugo $(cat "$target/tools/centrifugo/installed") and to roomcast under the same configurations; what
each client and the backend is told is compared step by step, with ids, epochs, times and texts for people masked. Replies of
one step are compared by their ids and pushes by room, not which of the two came first.

- command: \`make difference\`
- machine: $(sed -n 's/^model name.*: //p' /proc/cpuinfo | sort -u | head -1), $(nproc) cores, $(uname -sm), $(rustc --version)
- commit: $(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown)
- tree: $("$root/tests/make/tree.sh" crates/server/src crates/protocol/src tests/difference) of crates/server/src crates/protocol/src tests/difference
- date: $(date -u +%F)
PAGE
fi
"$target/tools/sdk-python/bin/python" "$here/main.py" "$@"
