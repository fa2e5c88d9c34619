#!/usr/bin/env bash
# A profile of one scenario of the lab: a flame graph of processor time, and who allocates.
#
#   benches/profile.sh SCENARIO OUT [--set KEY=VALUE]...
#
# BIN   the binary, built with the feature `profile`
# Over the network the server is profiled, in process the lab and the broker together.
set -euo pipefail

scenario=$1 out=$2
shift 2
mkdir -p "$out"
out=$(cd "$out" && pwd)

target=$("$BIN" lab show "$scenario" | sed -n 's/^target *= *"\(.*\)".*/\1/p')
for setting in "$@"; do
    case $setting in target=*) target=${setting#target=} ;; esac
done

if [[ ${target:-library} == library ]]; then
    ROOMCAST_PROFILE=$out "$BIN" lab run "$scenario" --out "$out/result" "$@"
    exit
fi

folder=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
# As the lab configures the servers that it starts itself.
cat > "$folder/roomcast.toml" <<TOML
[log]
file = false
[client]
recovery_max_publication_limit = 10000
[channel.without_namespace]
history_size = 1000
history_ttl = "1h"
force_recovery = true
join_leave = false
force_push_join_leave = false
storage = "off"
TOML
ROOMCAST_PROFILE=$out "$BIN" serve --dev --log-level error --listen "127.0.0.1:$port" \
    --config "$folder/roomcast.toml" --data-dir "$folder/data" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" || true; rm -rf "$folder"' EXIT
for _ in $(seq 100); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
    sleep 0.1
done
"$BIN" lab run "$scenario" --out "$out/result" --server "ws://127.0.0.1:$port" --server-pid "$server" "$@"
