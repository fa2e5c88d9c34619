#!/usr/bin/env bash
# Looks into the Debian package, starts what is in it, and, as root, installs, upgrades, removes and purges it in a copy of this system that
# nobody else sees.
#
# usage: tests/package/run.sh [PACKAGE]    without one: of ROOMCAST_BIN, or of the binary of target/debug
#
# What a machine has not (dpkg-deb, systemd, overlays, lintian) is `not run`, and why.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
server=
finish() {
	[[ -z $server ]] || kill -KILL "$server" 2>/dev/null || true
	rm -rf "$work"
}
trap finish EXIT
passed=0
failed=0

holds() {
	local what=$1
	shift
	if "$@" >"$work/said" 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: $what"
		sed 's/^/    /' "$work/said"
	fi
}
not_run() { echo "not run: $1"; }

if ! command -v dpkg-deb >/dev/null; then
	not_run "this system has no dpkg-deb"
	exit
fi
package=${1:-}
given=$package
if [[ -z $package ]]; then
	package=$(COMPRESSION=none "$root/dist/deb/build.sh" "${ROOMCAST_BIN:-${CARGO_TARGET_DIR:-$root/target}/debug/roomcast}" "$work")
fi
package=$(realpath "$package")

contents() { dpkg-deb --contents "$package" | awk '$1 !~ /^d/ { sub(/^\./, "", $6); print $1, $6 }' | sort -k 2 | diff "$here/contents.txt" -; }
holds "it has the files of contents.txt, and no others" contents
owners() { ! dpkg-deb --contents "$package" | awk '$2 != "root/root"' | grep .; }
holds "they are root's" owners
tree=$work/tree
dpkg-deb --raw-extract "$package" "$tree"
field() { dpkg-deb --field "$package" "$1"; }
version() { [[ "roomcast $(field Version)" == "$("$tree/usr/bin/roomcast" --version | sed 's/-/~/')-1" ]]; }
holds "it says the version of its binary" version
depends() { field Depends | grep -Ex 'libc6 \(>= 2\.[0-9]+\)(, libgcc-s1 \(>= [0-9.]+\))?, systemd \| systemd-standalone-sysusers \| systemd-sysusers'; }
holds "it says what it needs" depends
conffiles() { [[ $(cat "$tree/DEBIAN/conffiles") == /etc/roomcast/roomcast.toml ]]; }
holds "an upgrade leaves the configuration to the administrator" conffiles
sums() { cd "$tree" && md5sum --check --quiet DEBIAN/md5sums && [[ $(wc -l <DEBIAN/md5sums) == $(find usr -type f | wc -l) ]]; }
holds "its checksums are those of its files" sums
for script in preinst postinst prerm postrm; do
	holds "$script is a script of sh" sh -n "$tree/DEBIAN/$script"
	refuses() { ! sh "$tree/DEBIAN/$script" nonsense; }
	holds "$script refuses what it does not know" refuses
done
if command -v shellcheck >/dev/null; then
	holds "shellcheck finds nothing" shellcheck "$tree"/DEBIAN/{preinst,postinst,prerm,postrm} "$root/dist/deb/build.sh"
else
	not_run "shellcheck is not installed"
fi

configuration=$tree/etc/roomcast/roomcast.toml
holds "its configuration is one" "$tree/usr/bin/roomcast" config check "$configuration"
# All that it proposes is one as well.
proposed() { sed -E 's/^#(\[|[a-z_]+ = )/\1/; s/_key = ""/_key = "0123456789abcdef0123456789abcdef"/' "$configuration" >"$work/all.toml" && "$tree/usr/bin/roomcast" config check "$work/all.toml"; }
holds "what its configuration proposes can be used" proposed
every_option() { "$tree/usr/bin/roomcast" config default | diff "$tree/usr/share/doc/roomcast/examples/every-option.toml" -; }
holds "every option stands in its examples" every_option
# What is linked in asks for that.
licences() {
	local name
	gunzip -c "$tree/usr/share/doc/roomcast/third-party.txt.gz" >"$work/third-party"
	for name in tokio rustls aws-lc-rs aws-lc-sys libsqlite3-sys hyper h2 mimalloc; do grep -E "^$name [0-9.]+: ." "$work/third-party" || return 1; done
	grep 'Permission is hereby granted' "$work/third-party" && (($(grep -cx '=\{80\}' "$work/third-party") > 100))
}
holds "the licences of what it is made of are there" licences
commands() {
	local name
	for name in $("$tree/usr/bin/roomcast" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p' | grep -vxE 'help|lab'); do
		gunzip -c "$tree/usr/share/man/man1/roomcast.1.gz" | sed 's/\\-/-/g' | grep -E "^\.BR? .*\b$name\b" || {
			echo "the manual says nothing of $name"
			return 1
		}
	done
}
holds "the manual has every command" commands
if command -v groff >/dev/null; then
	manual() { [[ -z $(groff -man -ww -z <(gunzip -c "$tree/usr/share/man/man1/roomcast.1.gz") 2>&1 | tee /dev/stderr) ]]; }
	holds "the manual is set without a warning" manual
else
	not_run "groff is not installed"
fi

# By its own configuration, but for where it listens and keeps things.
serves() {
	(cd "$work" && exec "$tree/usr/bin/roomcast" serve --config "$configuration" --data-dir "$work/data" --listen 127.0.0.1:0) >"$work/log" 2>&1 &
	server=$!
	local address=
	for _ in $(seq 600); do
		address=$(sed -nE 's/.*(127\.0\.0\.1:[0-9]+).*/\1/p' "$work/log" | head -1)
		[[ -z $address ]] || break
		kill -0 "$server" 2>/dev/null || break
		sleep 0.1
	done
	cat "$work/log"
	"$tree/usr/bin/roomcast" health --url "http://$address/health" && "$tree/usr/bin/roomcast" health --url "http://$address/ready" || return 1
	kill -TERM "$server"
	local ended=0
	wait "$server" || ended=$?
	server=
	[[ $ended == 0 ]]
}
holds "what is in it serves, and ends as it should" serves

if ! command -v systemd-sysusers >/dev/null; then
	not_run "the installation: this system has no systemd-sysusers"
elif [[ $(id -u) != 0 ]]; then
	not_run "the installation: only root can"
elif ! unshare --mount true 2>/dev/null || ! unshare --mount bash "$here/system.sh" "$work/system" true 2>"$work/why"; then
	not_run "the installation: this system cannot be copied here: $(tail -1 "$work/why" 2>/dev/null)"
else
	holds "it is installed, upgraded, removed and purged" unshare --mount --fork --pid bash "$here/system.sh" "$work/system" bash -s "$package" <"$here/installed.sh"
fi
if [[ -z $given ]]; then
	: # It takes longer than all of the above.
elif command -v lintian >/dev/null; then
	holds "lintian finds no error" lintian --allow-root --fail-on error --tag-display-limit 0 \
		--suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog,embedded-library "$package"
else
	not_run "lintian is not installed"
fi
echo "$passed passed, $failed failed"
[[ $failed == 0 ]]
