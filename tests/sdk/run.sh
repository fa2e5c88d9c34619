#!/bin/bash
# Runs clients that nobody here wrote against the server binary: the SDK of Node on all its transports, raw sockets, the
# SDKs of Python and of Rust. With arguments, only the test files whose path contains one of them.
#
# ROOMCAST_BIN  the binary to test; built from this tree when unset
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}

"$here/setup.sh"
if [[ -z "${ROOMCAST_BIN:-}" ]]; then
    (cd "$root" && cargo build -p roomcast-server)
    ROOMCAST_BIN=$target/debug/roomcast
fi
export ROOMCAST_BIN
export ROOMCAST_SDK_TOOLS=$target/tools/sdk-js
export PYTHONDONTWRITEBYTECODE=1

# Each wait has a limit of its own; this is the limit of a suite, whatever happens.
limit=(timeout --kill-after=10 600)
output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT
failed=0

chosen() {
    local file word
    for file in "$@"; do
        [[ ${#words[@]} -gt 0 ]] || echo "$file"
        for word in "${words[@]}"; do [[ $file != *"$word"* ]] || echo "$file"; done
    done
}
words=("$@")

mapfile -t files < <(chosen "$here"/js/*.test.mjs)
if [[ ${#files[@]} -gt 0 ]]; then
    "${limit[@]}" node --test --test-concurrency=2 --test-timeout=300000 --test-reporter=spec "${files[@]}" \
        | tee "$output/js" || failed=1
    # A skipped test is a failed one.
    grep -qE '^. skipped 0$' "$output/js" && grep -qE '^. todo 0$' "$output/js" || failed=1
fi

mapfile -t files < <(chosen "$here"/python/test_*.py)
if [[ ${#files[@]} -gt 0 ]]; then
    (cd "$here/python" && "${limit[@]}" "$target/tools/sdk-python/bin/python" -W error -m unittest -v "${files[@]##*/}") 2>&1 \
        | tee "$output/python" || failed=1
    if grep -q 'skipped=' "$output/python"; then failed=1; fi
fi

mapfile -t files < <(chosen "$here"/rust/main.rs)
if [[ ${#files[@]} -gt 0 ]]; then
    # Building is no part of what the limit is for.
    rust=(cargo test --locked --manifest-path "$here/rust/Cargo.toml" --target-dir "$target/tools/sdk-rust")
    "${rust[@]}" --no-run
    "${limit[@]}" "${rust[@]}" 2>&1 | tee "$output/rust" || failed=1
    grep -qE '^test result: .* 0 ignored;' "$output/rust" || failed=1
fi
exit "$failed"
