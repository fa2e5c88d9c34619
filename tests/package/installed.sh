# Is run in a copy of this system, with the package: what its scripts do, at each step that a package goes through.
set -euo pipefail
package=$1
log=/run/asked
says() {
	echo "$1"
	exit 1
}

# A system that systemd runs, as far as the scripts see: what it is asked is written down.
rm -rf /etc/roomcast /var/lib/roomcast /usr/sbin/policy-rc.d
userdel roomcast 2>/dev/null || true
mkdir -p /run/systemd/system
cat >/usr/local/bin/systemctl <<'END'
#!/bin/sh
echo systemctl "$@" >>/run/asked
case "$*" in
"is-active --quiet roomcast.service") [ -e /run/serves ] ;;
"show --property=MainPID --value roomcast.service") cat /run/main-pid ;;
"show --property=StatusText --value roomcast.service") cat /run/status ;;
esac
END
printf '#!/bin/sh\necho deb-systemd-invoke "$@" >>%s\n' $log >/usr/local/bin/deb-systemd-invoke
chmod 755 /usr/local/bin/systemctl /usr/local/bin/deb-systemd-invoke
# What serves; at SIGUSR2 it writes something there, as the server and systemd do together.
serves() {
	echo serving >/run/status
	(
		trap "echo '$2' >'$1'; echo handed over >>$log" USR2
		while :; do sleep 0.1; done
	) &
	server=$!
	echo "$server" >/run/main-pid
}
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

# One that can hand over does so, and is started anew only where that does not help.
upgrade() {
	: >$log
	serves "$@"
	dpkg --install "$package" 2>/run/said
	kill "$server"
	wait "$server" || true
}
upgrade /run/main-pid 4711
asked 'handed over' || says "an upgrade interrupts a server that could hand over"
! grep deb-systemd-invoke $log || says "it has handed over"
upgrade /run/status 'serving; not handed over: process 4711 has ended (exit status: 1)'
asked 'handed over' && asked 'deb-systemd-invoke restart roomcast.service' || says "the old version goes on when it cannot hand over"
upgrade /run/status 'serving; not handed over: process 4711 has ended (exit status: 2)'
! grep deb-systemd-invoke $log || says "what could not serve was started in place of what does"
grep -q 'cannot use its configuration; the one before goes on' /run/said || says "and nobody is told"
echo '# as it was' >>/usr/lib/systemd/system/roomcast.service
upgrade /run/main-pid 4711
! asked 'handed over' && asked 'deb-systemd-invoke restart roomcast.service' || says "a unit that has changed does not count"
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
upgrade /run/main-pid 4711
! asked 'handed over' || says "it does something where policy-rc.d says not to"
rm /usr/sbin/policy-rc.d
[[ ! -e /run/roomcast-unit.md5 ]] || says "something is left of it"
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
