#!/usr/bin/env bash
# Runs a command and keeps of its output the lines of results, with what is to be known about them, in
# target/results/NAME.md. What stands in docs/results is a copy of such a file.
#
# TREE  the folders that it depends on
#
# usage: tests/make/results.sh NAME PATTERN COMMAND...
set -euo pipefail
cd "$(dirname "$0")/../.."
name=$1 pattern=$2
shift 2
folder=${CARGO_TARGET_DIR:-target}/results
mkdir -p "$folder"
output=$(mktemp)
trap 'rm -f "$output"' EXIT
shown=${*//$PWD\//}
shown=${shown//${CARGO_TARGET_DIR:-target}/target}
began=$(date +%s)
# Of what is measured, not of what it has become meanwhile.
# shellcheck disable=SC2086
tree=$(tests/make/tree.sh ${TREE:-src tests})
"$@" 2>&1 | tee "$output"
{
	echo "# make $name"
	echo
	echo "- command: \`make $name\`, which runs \`$shown\`"
	echo "- settings: $(env | grep '^ROOMCAST_' | sort | paste -sd ' ')"
	echo "- machine: $(sed -n 's/^model name.*: //p' /proc/cpuinfo | sort -u | head -1), $(nproc) cores, $(uname -sm), $(rustc --version)"
	echo "- commit: $(git describe --always --dirty 2>/dev/null || echo unknown)"
	echo "- tree: $tree of ${TREE:-src tests}"
	echo "- date: $(date -u +%F), $(($(date +%s) - began)) s with the build"
	echo "- $(grep -E '^test result:|^# tests|^[0-9]+ passed, [0-9]+ failed$|^not run: ' "$output" | tail -1)"
	echo
	echo '```'
	grep -E "$pattern" "$output" | sed -E '/ \.\.\. ok$/!s/^test .* \.\.\. //; s/^[^|]*([|] )/\1/'
	echo '```'
} >"$folder/$name.md"
echo "results: $folder/$name.md"
