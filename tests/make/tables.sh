#!/usr/bin/env bash
# Holds the tables in docs/results, or in the folder TABLES, against the tree. A table names what it was made from, as
# `tree: HASH of PATH...`.
#
# usage: tests/make/tables.sh old       names the tables whose tree has changed since; never fails
#        tests/make/tables.sh failed    fails if a table has rows of ours that failed; what a rival cannot do is a result
set -euo pipefail
cd "$(dirname "$0")/../.."
found=0
for table in "${TABLES:-docs/results}"/*.md; do
	case $1 in
	old)
		line=$(sed -nE 's/^[*-] tree: ([0-9a-f]+) of (.*)$/\1 \2/p' "$table" | head -1)
		if [[ -z $line ]]; then
			echo "$table does not say what it was made from"
			continue
		fi
		read -r hash paths <<<"$line"
		# shellcheck disable=SC2086
		[[ $hash == "$(tests/make/tree.sh $paths)" ]] || echo "$table is of another tree than this one: $paths"
		;;
	failed)
		if grep -nE '^[|] [^|]+ [|] roomcast[^|]* [|].*[|] failed: |^- test result: FAILED' "$table"; then
			echo "$table has rows that failed"
			found=1
		fi
		;;
	*)
		echo "usage: tests/make/tables.sh old|failed" >&2
		exit 2
		;;
	esac
done
exit "$found"
