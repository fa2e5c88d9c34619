#!/usr/bin/env bash
# memcheck over the tests that need no more than some minutes under it: the unit tests of the core, the tests of the library
# and a few seconds of churn with hostile messages. Any error, and any block lost for good, fails.
#
# Left out, because each would take minutes where threads run one at a time: the tests of tests/library/stress.rs and the
# random histories of tests/library/model.rs; of the soak, the counts of wake-ups and the resident memory, which valgrind's
# own would drown.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${CARGO_TARGET_DIR:-target}/results
mkdir -p "$folder"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
began=$(date +%s)
tree=$(tests/make/tree.sh src tests/library tests/soak)

binary() {
	cargo test --locked --no-run "$@" 2>&1 | tee /dev/stderr | sed -n 's/.*Executable .*(\(.*\))$/\1/p'
}

rows=()
check() {
	local what=$1 program=$2
	shift 2
	local output since
	output=$(mktemp)
	since=$(date +%s)
	valgrind --error-exitcode=9 --leak-check=full --show-leak-kinds=definite,indirect \
		--errors-for-leak-kinds=definite,indirect --fair-sched=yes --log-file="$log" \
		"$program" --test-threads=1 "$@" 2>&1 | tee "$output" || { cat "$log"; exit 1; }
	rows+=("| $what | $(sed -n 's/^test result: ok. \([0-9]* passed\).*/\1/p' "$output") | $(
		sed -n 's/.*ERROR SUMMARY: \([0-9]* errors\).*/\1/p' "$log") | $(lost definitely) | $(lost indirectly) | $(
		lost possibly) | $(lost 'still reachable') | $(($(date +%s) - since)) s |")
	rm -f "$output"
}

# The bytes of one kind in the summary of leaks; without blocks at the end there is no summary.
lost() {
	sed -n "s/.* $1\( lost\)\?: \([0-9,]* bytes\).*/\2/p" "$log" | grep . || echo "0 bytes"
}

export RUST_BACKTRACE=0 PROPTEST_CASES=16
check 'unit tests of the core' "$(binary --lib)"
check 'tests of the library' "$(binary --test library)" --skip stress:: --skip model::
export ROOMCAST_SOAK_HOSTILE_SECONDS=${ROOMCAST_SOAK_HOSTILE_SECONDS:-20}
check 'hostile messages and wakers' "$(binary --test soak)" hostile wakers::

{
	echo "# make valgrind"
	echo
	echo "- command: \`make valgrind\`, which runs \`tests/valgrind.sh\`; $(valgrind --version), memcheck"
	echo "- machine: $(sed -n 's/^model name.*: //p' /proc/cpuinfo | sort -u | head -1), $(nproc) cores, $(uname -sm), $(rustc --version)"
	echo "- commit: $(git describe --always --dirty 2>/dev/null || echo unknown)"
	echo "- tree: $tree of src tests/library tests/soak"
	echo "- date: $(date -u +%F), $(($(date +%s) - began)) s with the build"
	echo
	echo '| what | tests | errors | definitely lost | indirectly lost | possibly lost | still reachable | took |'
	echo '|---|---|---|---|---|---|---|---|'
	printf '%s\n' "${rows[@]}"
	echo
	echo 'Still reachable are the nodes of the list of debts of arc-swap, one for each thread that was alive at once, and a list'
	echo 'of threads of std: both are kept for ever. Possibly lost are 48 bytes: the handle of the main thread, which the test'
	echo 'harness asks std for.'
	echo
	echo 'Left out, as too slow where threads run one at a time: `tests/library/stress.rs`, `tests/library/model.rs`, and of the'
	echo 'soak the counts of wake-ups, the calm churn and the resident memory.'
} >"$folder/valgrind.md"
echo "results: $folder/valgrind.md"
