#!/bin/sh
# Builds Pebble, the ACME server that tests fetch certificates from, by Go from its module proxy, into target/tools: a minute,
# once. Prints where it is; fails and says why where that cannot be.
set -eu

version=v2.10.3
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
tools=${CARGO_TARGET_DIR:-$root/target}/tools/pebble

PATH=$PATH:/usr/local/go/bin
mkdir -p "$tools"
# One builds it, the others wait.
exec 9>"$tools/lock"
flock 9
if [ "$(cat "$tools/installed" 2>/dev/null)" != "$version" ]; then
    command -v go >/dev/null || { echo "go is missing"; exit 1; }
    # Its sources and what it is made of go when it is built.
    modules=$(mktemp -d)
    trap 'rm -rf "$modules"' EXIT
    GOPATH=$modules/path GOCACHE=$modules/cache GOBIN=$tools GOFLAGS='-modcacherw -buildvcs=false' CGO_ENABLED=0 \
        go install -trimpath -ldflags='-s -w' "github.com/letsencrypt/pebble/v2/cmd/pebble@$version" >"$tools/log" 2>&1 9>&- || {
        echo "Pebble $version cannot be built: $(tail -n 1 "$tools/log")"
        exit 1
    }
    echo "$version" >"$tools/installed"
fi
echo "$tools/pebble"
