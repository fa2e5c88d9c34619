# Is run in a copy of this system, with the package: what its scripts do, at each step that a package goes through.
set -euo pipefail
package=$1
log=/run/asked
says() {
	echo "$1"
	exit 1
}

# A system that systemd runs, as far as the scripts see: what it is asked is written down.
rm -rf /etc/roomcast /var/lib/roomcast
userdel roomcast 2>/dev/null || true
mkdir -p /run/systemd/system
for program in systemctl deb-systemd-invoke; do
	printf '#!/bin/sh\necho %s "$@" >>%s\n[ "$1 $2" != "is-active --quiet" ] || [ -e /run/serves ]\n' $program $log >/usr/local/bin/$program
	chmod 755 /usr/local/bin/$program
done
export PATH=/usr/local/bin:$PATH DEBIAN_FRONTEND=noninteractive
asked() { grep -qx "$1" $log; }

: >$log
dpkg --install "$package"
[[ $(dpkg-query --show --showformat='${Status}' roomcast) == "install ok installed" ]] || says "it is not installed"
[[ -z $(dpkg --verify roomcast) ]] || says "files are not what they were made as"
getent passwd roomcast | grep -E ':/var/lib/roomcast:.*nologin$' || says "its user is not there, or can log in"
[[ $(stat -c '%a %U:%G' /etc/roomcast/roomcast.toml) == "640 root:roomcast" ]] || says "everybody reads the configuration"
! grep 'deb-systemd-invoke' $log || says "nobody has asked it to serve"
as() { setpriv --reuid="$1" --regid="$2" --clear-groups "${@:3}"; }
as roomcast roomcast roomcast config check /etc/roomcast/roomcast.toml || says "its user does not read the configuration"
! as nobody nogroup cat /etc/roomcast/roomcast.toml || says "others do"
systemd-analyze verify /usr/lib/systemd/system/roomcast.service 2>&1 | (! grep roomcast) || says "systemd does not like the unit"
exposed=$(systemd-analyze security --offline=true --threshold=20 roomcast.service 2>&1) || says "the unit leaves too much open: $exposed"

# What the administrator does stays.
echo 'listens = "to me"' >>/etc/roomcast/roomcast.toml
chmod 600 /etc/roomcast/roomcast.toml
install -d -o roomcast -g roomcast -m 700 /var/lib/roomcast
echo kept >/var/lib/roomcast/rooms.db
touch /run/serves
: >$log
dpkg --install "$package"
grep -q 'to me' /etc/roomcast/roomcast.toml || says "an upgrade has taken the configuration"
[[ $(stat -c %a /etc/roomcast/roomcast.toml) == 600 ]] || says "an upgrade has opened the configuration"
asked 'deb-systemd-invoke restart roomcast.service' || says "the old version goes on after an upgrade"
! asked 'deb-systemd-invoke stop roomcast.service' || says "it does not serve while it is unpacked"
rm /run/serves
: >$log
dpkg --install "$package"
! grep deb-systemd-invoke $log || says "one that was stopped was started by an upgrade"

: >$log
ln -sf /usr/lib/systemd/system/roomcast.service /etc/systemd/system/multi-user.target.wants/roomcast.service
dpkg --remove roomcast
asked 'deb-systemd-invoke stop roomcast.service' || says "it serves on without its files"
[[ ! -e /usr/bin/roomcast && -e /etc/roomcast/roomcast.toml ]] || says "removing takes the program and leaves the configuration"
dpkg --purge roomcast
[[ ! -e /etc/roomcast && ! -L /etc/systemd/system/multi-user.target.wants/roomcast.service ]] || says "purging leaves something"
[[ $(cat /var/lib/roomcast/rooms.db) == kept ]] || says "purging took what people have said"
getent passwd roomcast >/dev/null || says "and the user whose it is"
dpkg --install "$package"
[[ $(stat -c '%a %U:%G' /etc/roomcast/roomcast.toml) == "640 root:roomcast" ]] || says "a second first installation is none"
