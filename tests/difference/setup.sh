#!/bin/sh
# Builds the Centrifugo that roomcast is compared with, by Go from its module proxy, into target/tools: minutes, once. Fails
# and says why where that cannot be.
set -eu

version=v6.9.1
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=${CARGO_TARGET_DIR:-$root/target}/tools/centrifugo

[ "$(cat "$tools/installed" 2>/dev/null)" = "$version" ] && exit
PATH=$PATH:/usr/local/go/bin
command -v go >/dev/null || { echo "there is no go"; exit 1; }
mkdir -p "$tools"
# Its sources and what it is made of go when it is built.
modules=$(mktemp -d)
trap 'rm -rf "$modules"' EXIT
GOPATH=$modules/path GOCACHE=$modules/cache GOBIN=$tools GOFLAGS='-modcacherw -buildvcs=false' CGO_ENABLED=0 \
    go install -trimpath -ldflags='-s -w' "github.com/centrifugal/centrifugo/v6@$version" >"$tools/log" 2>&1 || {
    echo "Centrifugo $version cannot be built: $(tail -n 1 "$tools/log")"
    exit 1
}
echo "$version" >"$tools/installed"
