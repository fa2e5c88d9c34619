#!/usr/bin/env bash
# Draws where the processor time of a server goes while one row is measured, into target/results/flame.svg, and prints its
# system calls by delivery.
#
# usage: benches/server/flame.sh ['burst | members: 100, 128 B | roomcast']
# wants: perf, allowed to watch the whole system; inferno (cargo install inferno)
set -euo pipefail
cd "$(dirname "$0")/../.."
row=${1:-burst | members: 100, 128 B | roomcast}
target=${CARGO_TARGET_DIR:-target}/flame
results=${CARGO_TARGET_DIR:-target}/results
mkdir -p "$results"

# Frame pointers, or stacks end at the first function.
export RUSTFLAGS="-C force-frame-pointers=yes"
cargo build --locked --release -p roomcast-server --target-dir "$target"
cargo build --locked --release --manifest-path benches/rivals/Cargo.toml -p server-bench --bins --target-dir "$target"

bench=$target/release/server-bench
calls=$(mktemp) data=$(mktemp) said=$(mktemp)
trap 'rm -f "$calls" "$data" "$said"' EXIT
perf record -q -a -g -e cpu-clock -F 4000 -o "$data" -- "$bench" measure "$row"
perf script -i "$data" --comm roomcast-shard- 2>/dev/null | inferno-collapse-perf |
	inferno-flamegraph --title "$row" --width 1400 >"$results/flame.svg"
echo "drawn: $results/flame.svg"

# Once more, to count system calls for a part of the time.
"$bench" measure "$row" >"$said" &
sleep 0.6
names=sendto,sendmsg,writev,recvfrom,epoll_wait
perf stat -x, -o "$calls" -p "$(pgrep -P $!)" -e "syscalls:sys_enter_${names//,/,syscalls:sys_enter_}" -- sleep 0.3
wait
rate=$(awk '/^deliveries/ { print $3 * 1000 }' "$said")
awk -F, -v rate="$rate" '/sys_enter_/ { sub("syscalls:sys_enter_", "", $3); printf "%s a delivery: %.4f\n", $3, $1 / 0.3 / rate }' "$calls"
