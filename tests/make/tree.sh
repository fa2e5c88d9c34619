#!/usr/bin/env bash
# A hash of everything that is in these files and folders, as they lie there: of what a table of results was made from.
#
# usage: tests/make/tree.sh PATH...
set -euo pipefail
cd "$(dirname "$0")/../.."
git ls-files -z --cached --others --exclude-standard -- "$@" | sort -zu |
	while IFS= read -r -d '' file; do [[ ! -f $file ]] || sha256sum "$file"; done | sha256sum | cut -c1-12
