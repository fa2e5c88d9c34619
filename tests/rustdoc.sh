#!/usr/bin/env bash
# rustdoc as the compiler of the nightly channel sees it: it compares the codes of compile_fail examples.
set -euo pipefail
RUSTC_BOOTSTRAP=1 exec rustdoc "$@"
