#!/usr/bin/env bash
# Builds the fuzz targets and runs each for a while, one a core at a time. A finding ends the run with the input that led to it in
# fuzz/artifacts. Needs nothing but the stable toolchain and a C++ compiler.
#
# ROOMCAST_FUZZ_JOBS  how many run at a time, if not one a core
#
# usage: fuzz/run.sh SECONDS [TARGET...]   runs all targets, or these
#        fuzz/run.sh INPUT                 runs one input again, by the target that its folder names
#        fuzz/run.sh --keep                replaces the unnamed inputs of the corpora by the least that reaches as much
set -euo pipefail
target=$(realpath -m "${CARGO_TARGET_DIR:-$(dirname "$0")/../target}")/fuzz
cd "$(dirname "$0")"
all=(api config emulation frames handover handshake http2 json protobuf proxy session tls token)
host=$(rustc -vV | sed -n 's/^host: //p')
programs=$target/$host/release
# What a run finds is kept here, for the next.
found=$target/corpus
# An input takes microseconds; one that takes this long, or this much memory, is a finding.
limits=(-max_len=4096 -timeout=10 -rss_limit_mb=1024)
# What --keep leaves in a corpus beside the inputs that have names: so many, the richest of those that are not too large.
KEPT_MAX=12
KEPT_BYTES_MAX=1500

# With a target triple the flags are for the targets alone, not for build scripts. The coverage is what stable compilers give.
flags=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4)
flags+=(-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table)
flags+=(-Cllvm-args=-sanitizer-coverage-trace-compares)
flags+=(-Cdebug-assertions -Coverflow-checks --cfg roomcast_fuzz)
RUSTFLAGS="${flags[*]}" "${CARGO:-cargo}" build --locked --release --target "$host" --target-dir "$target"

fuzz() { # TARGET SECONDS
	mkdir -p "$found/$1" "artifacts/$1"
	local options=("${limits[@]}" "-max_total_time=$2" "-artifact_prefix=artifacts/$1/" -print_final_stats=1)
	if [[ -f $1.dict ]]; then options+=("-dict=$1.dict"); fi
	if "$programs/$1" "${options[@]}" "$found/$1" "corpus/$1" >"$target/$1.log" 2>&1; then
		local inputs reached
		inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$target/$1.log")
		reached=$(grep -oE 'cov: [0-9]+ ft: [0-9]+ corp: [0-9]+' "$target/$1.log" | tail -1)
		echo "$1: $inputs inputs in $2 s, ${reached//:/}, no finding"
	else
		tail -40 "$target/$1.log"
		echo "$1: a finding; run it again with: make fuzz INPUT=fuzz/$(sed -n 's/.*Test unit written to //p' "$target/$1.log" | tail -1)"
		return 1
	fi
}

keep() { # TARGET
	local least=$target/least/$1
	rm -rf "$least" && mkdir -p "$least"
	# The named ones first, so that only what they do not reach is added.
	find "corpus/$1" -type f -regextype posix-extended -regex '.*/[0-9a-f]{40}' -delete
	cp "corpus/$1"/* "$least"
	"$programs/$1" -set_cover_merge=1 "${limits[@]}" "$least" "$found/$1" >"$target/$1.log" 2>&1
	find "$least" -type f -size "-$((KEPT_BYTES_MAX + 1))c" -regextype posix-extended -regex '.*/[0-9a-f]{40}' \
		-printf '%s %p\n' | sort -rn | sed "${KEPT_MAX}q" | cut -d ' ' -f 2- | xargs -r cp -t "corpus/$1"
	echo "$1: $(find "corpus/$1" -type f | wc -l) files, $(du -sb "corpus/$1" | cut -f 1) bytes"
}

case ${1:?how many seconds a target?} in
--keep)
	for name in "${all[@]}"; do keep "$name"; done
	;;
*[!0-9]*)
	input=$1
	[[ -f $input ]] || input=../$1
	"$programs/$(basename "$(dirname "$input")")" "${limits[@]}" "$input"
	;;
*)
	seconds=$1
	shift
	chosen=("${@:-${all[@]}}")
	failed=0
	jobs=${ROOMCAST_FUZZ_JOBS:-$(nproc)}
	for ((at = 0; at < ${#chosen[@]}; at += jobs)); do
		running=()
		for name in "${chosen[@]:at:jobs}"; do
			fuzz "$name" "$seconds" &
			running+=("$!")
		done
		for id in "${running[@]}"; do wait "$id" || failed=1; done
	done
	if [[ $failed == 0 ]]; then echo "# tests: ${#chosen[@]} targets passed"; fi
	exit "$failed"
	;;
esac
