#!/usr/bin/env bash
# Copies the results that long runs have left in target/results into the documentation. A quick run is an impression, not a
# result, and stays where it is.
#
# usage: tests/make/publish.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
from=${CARGO_TARGET_DIR:-target}/results
shopt -s nullglob
for file in "$from"/*.md; do
	name=${file##*/}
	case $name in
	*-quick.md) echo "left: $name" ;;
	ci.md)
		# Between its two marks.
		python3 - "$file" <<-'PYTHON'
			import re, sys
			table = "".join(line for line in open(sys.argv[1]) if line[0] in "-|" or not line.strip()).strip()
			page = open("docs/testing.md").read()
			begin, end = "<!-- the table of make ci -->\n", "<!-- its end -->"
			head, rest = page.split(begin)
			open("docs/testing.md", "w").write(head + begin + table + "\n" + end + rest.split(end)[1])
		PYTHON
		echo "docs/testing.md: the table of make ci"
		;;
	test.md | test-all.md) ;;
	autobahn.md)
		cp "$file" docs/autobahn.md
		echo "docs/autobahn.md"
		;;
	*)
		cp "$file" "docs/results/$name"
		echo "docs/results/$name"
		;;
	esac
done
if [[ -f $from/lab/report.html ]]; then
	mkdir -p docs/lab
	cp "$from"/lab/report.html "$from"/lab/results.csv "$from"/lab/results.json docs/lab/
	echo "docs/lab"
fi
