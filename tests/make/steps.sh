#!/usr/bin/env bash
# Runs steps one after the other, says how long each took, and ends with what the runners of the tests have counted.
#
# usage: tests/make/steps.sh NAME all|first [STEP COMMAND]...
#   all     every step runs, whatever becomes of the others; it fails in the end if one did
#   first   the first step that fails is the last
#
# The table is printed, and kept in target/results/NAME.md.
set -uo pipefail
cd "$(dirname "$0")/../.."
name=$1 mode=$2
shift 2
folder=${CARGO_TARGET_DIR:-target}/results
mkdir -p "$folder"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
closing=$folder/$name.closing
: >"$closing"

# What a runner says last: of cargo test and cargo nextest one line, of node three, of Python's unittest two.
last_words() {
	sed -E 's/\x1b\[[0-9;]*m//g' "$log" | if grep -qaE '^ +Summary \[' "$log"; then
		grep -aE '^ +Summary \[' | tail -1
	elif grep -qaE '^. tests [0-9]+$' "$log"; then
		grep -aE '^. (tests|pass|fail) [0-9]+$' | tail -3
	elif grep -qaE '^Ran [0-9]+ tests' "$log"; then
		grep -aE '^(Ran [0-9]+ tests|OK|FAILED)' | tail -2
	elif grep -qaE '^[0-9]+ passed, [0-9]+ failed$' "$log"; then
		grep -aE '^[0-9]+ passed, [0-9]+ failed$' | tail -1
	else
		grep -aE '^test result:' | tail -1
	fi
}

rows=() failed=()
sum=0
while (($# > 0)); do
	step=$1 command=$2
	shift 2
	if ((${#failed[@]} > 0)) && [[ $mode == first ]]; then
		rows+=("| $step | | not run |")
		continue
	fi
	printf '\n== %s %s: %s\n' "$name" "$step" "$command"
	began=$(date +%s)
	# Its own closing lines are those of the steps in it.
	rm -f "$folder/$step.closing"
	if bash -c "$command" 2>&1 | tee "$log"; then
		outcome=passed
	else
		outcome=FAILED
		failed+=("$step")
	fi
	took=$(($(date +%s) - began))
	sum=$((sum + took))
	rows+=("| $step | $took | $outcome |")
	printf '== %s %s: %s s, %s\n' "$name" "$step" "$took" "$outcome"
	if [[ -s $folder/$step.closing ]]; then cat "$folder/$step.closing"; else last_words; fi >>"$closing"
done

{
	echo "# make $name"
	echo
	echo "- machine: $(sed -n 's/^model name.*: //p' /proc/cpuinfo | sort -u | head -1), $(nproc) cores, $(uname -sm), $(rustc --version)"
	echo "- date: $(date -u +%F)"
	echo "- commit: $(git describe --always --dirty 2>/dev/null || echo unknown)"
	echo
	echo "| $name | seconds | |"
	echo '|---|--:|---|'
	printf '%s\n' "${rows[@]}"
	echo "| all | $sum | |"
} >"$folder/$name.md"

echo
sed -n '/^|/p' "$folder/$name.md"
echo
((${#failed[@]} == 0)) || echo "failed: ${failed[*]}"
cat "$closing"
((${#failed[@]} == 0))
