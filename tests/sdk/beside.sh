#!/usr/bin/env bash
# Runs the suite of the SDK of Go or of Java, pinned, against the server binary; what they are made of is kept under
# target/tools. Says `not run` and why where the language or the SDK cannot be had.
#
# ROOMCAST_BIN  the binary to test; built from this tree when unset
#
# usage: tests/sdk/beside.sh go|java
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
language=$1
tools=$target/tools/sdk-$language
mkdir -p "$tools"
PATH=$PATH:/usr/local/go/bin

not_run() {
    echo "not run: $1"
    exit 0
}
fetched() {
    "$@" >"$tools/log" 2>&1 || not_run "the SDK of $language cannot be had: $(grep -vE '^\s*$' "$tools/log" | tail -n 1)"
}

case $language in
go)
    command -v go >/dev/null || not_run "there is no go"
    export GOPATH=$tools/path GOCACHE=$tools/cache GOFLAGS='-modcacherw -mod=readonly' CGO_ENABLED=0
    cd "$here/go"
    fetched go mod download
    suite=(go test -count=1 -timeout=10m -v ./...)
    ;;
java)
    command -v mvn >/dev/null || not_run "there is no mvn"
    maven=(mvn --batch-mode -Dstyle.color=never --no-transfer-progress -f "$here/java/pom.xml" "-Dmaven.repo.local=$tools/repository" "-Dbuilt=$tools/built")
    # With all that the suite needs.
    fetched "${maven[@]}" -DskipTests test-compile surefire:test
    suite=("${maven[@]}" test)
    ;;
*)
    echo "usage: tests/sdk/beside.sh go|java" >&2
    exit 2
    ;;
esac

if [[ -z "${ROOMCAST_BIN:-}" ]]; then
    (cd "$root" && cargo build --locked -p roomcast-server --all-features)
    ROOMCAST_BIN=$target/debug/roomcast
fi
export ROOMCAST_BIN
status=0
timeout --kill-after=10 900 "${suite[@]}" 2>&1 | tee "$tools/output" || status=1
echo
if [[ $language == go ]]; then
    echo "$(grep -c '^--- PASS' "$tools/output") passed, $(grep -c '^--- FAIL' "$tools/output") failed"
else
    read -r run failed errors _ < <(grep -E '^\[[A-Z]+\] Tests run: [0-9]+, .*[0-9]$' "$tools/output" | tail -1 | sed -E 's/[^0-9]+/ /g')
    echo "$((${run:-0} - ${failed:-0} - ${errors:-0})) passed, $((${failed:-0} + ${errors:-0})) failed"
fi
exit "$status"
