#!/usr/bin/env bash
# Makes the Debian package around a binary, by dpkg-deb, which every Debian has. There is nothing to be built here and a dozen files to be
# put in their places: what a tool of its own would add is hundreds of crates to be built first.
#
# usage: dist/deb/build.sh BINARY FOLDER     prints the path of the package
#
# SOURCE_DATE_EPOCH  how old the files are; the commit's time when unset
# COMPRESSION        as dpkg-deb -Z takes it; xz when unset, which each release reads that is still cared for
set -euo pipefail
umask 022
binary=$(realpath "$1") folder=$(realpath "$2")
cd "$(dirname "$0")/../.."

version=$("$binary" --version)
version=${version#roomcast }
# A prerelease comes before its release.
version=${version/-/\~}
architecture=$(dpkg --print-architecture)
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}"
export SOURCE_DATE_EPOCH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
doc=$tree/usr/share/doc/roomcast
put() { install -D -m "$1" "$2" "$tree/$3"; }

mkdir -p "$tree/usr/bin"
strip --remove-section=.comment --remove-section=.note -o "$tree/usr/bin/roomcast" "$binary"
chmod 755 "$tree/usr/bin/roomcast"

# The unit of the archive takes a user that systemd makes up; this one has one of its own, who alone reads the configuration.
mkdir -p "$tree/usr/lib/systemd/system"
unit=$tree/usr/lib/systemd/system/roomcast.service
sed -e 's|/usr/local/bin/|/usr/bin/|' -e 's|^DynamicUser=yes$|User=roomcast\nGroup=roomcast\nRemoveIPC=yes|' dist/roomcast.service >"$unit"
if ! grep -qx 'User=roomcast' "$unit" || ! grep -q '^ExecStart=/usr/bin/roomcast ' "$unit"; then
	echo "dist/roomcast.service is not what dist/deb/build.sh takes it for" >&2
	exit 1
fi
put 644 dist/deb/roomcast.sysusers usr/lib/sysusers.d/roomcast.conf
put 640 dist/deb/roomcast.toml etc/roomcast/roomcast.toml
put 644 dist/roomcast.1 usr/share/man/man1/roomcast.1
put 644 dist/deb/copyright usr/share/doc/roomcast/copyright
put 644 CHANGELOG.md usr/share/doc/roomcast/changelog
for page in server events storage protocol security your-website moving-from-centrifugo; do
	put 644 "docs/$page.md" "usr/share/doc/roomcast/$page.md"
done
dist/third-party.py >"$doc/third-party.txt"
mkdir -p "$doc/examples"
"$binary" config default >"$doc/examples/every-option.toml"
cat >"$doc/changelog.Debian" <<END
roomcast ($version-1) stable; urgency=medium

  * See changelog.gz.

 -- The roomcast authors <roomcast@localhost>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
gzip -n9 "$doc/changelog" "$doc/changelog.Debian" "$doc/third-party.txt" "$tree/usr/share/man/man1/roomcast.1"

# What it is linked with, and the newest symbol of the C library that it asks for.
needs=$(objdump -p "$tree/usr/bin/roomcast" | awk '$1 == "NEEDED" { print $2 }')
glibc=$(objdump -T "$tree/usr/bin/roomcast" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)
depends="libc6 (>= ${glibc#GLIBC_})"
for library in $needs; do
	case $library in
	libc.so.* | libm.so.* | ld-linux*) ;;
	libgcc_s.so.1) depends+=", libgcc-s1 (>= 3.0)" ;;
	*)
		echo "the binary needs $library, and dist/deb/build.sh does not know whose that is" >&2
		exit 1
		;;
	esac
done

mkdir -p "$tree/DEBIAN"
cat >"$tree/DEBIAN/control" <<END
Package: roomcast
Version: $version-1
Architecture: $architecture
Maintainer: The roomcast authors <roomcast@localhost>
Installed-Size: $(du -sk --apparent-size --exclude=DEBIAN "$tree" | cut -f1)
Depends: $depends, systemd | systemd-standalone-sysusers | systemd-sysusers
Recommends: ca-certificates
Section: net
Priority: optional
Description: rooms on a website: messages, history, presence, recovery
 A server for chats, prices, scores and whatever else a page is to hear of at
 once. Browsers connect by WebSocket, HTTP streaming or server-sent events,
 enter rooms and are given what is published there, in order; who comes back is
 given what was missed. Messages are kept in SQLite or PostgreSQL where that is
 wanted.
 .
 It speaks the Centrifugo client protocol, and takes its configuration.
END
echo /etc/roomcast/roomcast.toml >"$tree/DEBIAN/conffiles"
for script in preinst postinst prerm postrm; do install -m 755 "dist/deb/$script" "$tree/DEBIAN/$script"; done
(cd "$tree" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"

package=$folder/roomcast_$version-1_$architecture.deb
dpkg-deb --root-owner-group -Z"${COMPRESSION:-xz}" --build "$tree" "$package" >/dev/null
echo "$package"
