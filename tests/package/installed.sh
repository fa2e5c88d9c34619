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
# What systemd hears of a server, for the one above to say.
hears() {
	python3 -c '
import os, socket
heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
heard.bind("/run/heard")
os.chmod("/run/heard", 0o666)
while True:
    for line in heard.recv(4096).decode().splitlines():
        name, _, value = line.partition("=")
        place = {"MAINPID": "/run/main-pid", "STATUS": "/run/status", "READY": "/run/ready"}.get(name)
        if place:
            open(place + ".new", "w").write(value + "\n")
            os.rename(place + ".new", place)
' &
	manager=$!
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
	dpkg --install "$package" 2>/run/said
}
main() { cat /run/main-pid; }
until_it_is() { # there within a minute: a file
	for _ in $(seq 600); do
		[[ ! -e $1 ]] || return 0
		sleep 0.1
	done
	says "there is no $1"
}
install -d -o roomcast -g roomcast -m 700 /run/data
configuration=/run/served.toml
echo 'log.file = false' >$configuration
hears
until_it_is /run/heard
(exec setpriv --reuid=roomcast --regid=roomcast --clear-groups env NOTIFY_SOCKET=/run/heard \
	/usr/bin/roomcast serve --config $configuration --data-dir /run/data --listen 127.0.0.1:0 >/run/serving 2>&1) &
first=$!
echo $first >/run/main-pid
until_it_is /run/ready
until_it_is /run/data/handover.sock
upgrade
second=$(main)
[[ $second != "$first" && $(readlink "/proc/$second/exe") == /usr/bin/roomcast ]] || says "the new version does not serve: $(cat /run/serving)"
! grep deb-systemd-invoke $log || says "an upgrade interrupts a server that could hand over"
wait "$first" || says "the old version was not done when it had handed over"
until_it_is /run/data/handover.sock
echo 'nonsense = true' >>$configuration
upgrade
[[ $(main) == "$second" && -e /proc/$second ]] || says "the version that served does not any more"
! grep deb-systemd-invoke $log || says "what could not serve was started in place of what does"
grep -q 'cannot use its configuration; the one before goes on' /run/said || says "and nobody is told"
# An address that is not this machine's: started anew it may be another day.
sed -i /nonsense/d $configuration
printf '[http_server]\ninternal_address = "192.0.2.1"\ninternal_port = 9000\n' >>$configuration
upgrade
asked 'deb-systemd-invoke restart roomcast.service' || says "the old version goes on when it cannot hand over: $(cat /run/status)"
sed -i '/http_server/,$d' $configuration
echo '# as it was' >>/usr/lib/systemd/system/roomcast.service
upgrade
asked 'deb-systemd-invoke restart roomcast.service' && [[ $(main) == "$second" ]] || says "a unit that has changed does not count"
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
upgrade
asked 'deb-systemd-invoke restart roomcast.service' && [[ $(main) == "$second" ]] || says "it does something where policy-rc.d says not to"
rm /usr/sbin/policy-rc.d
# What was said of the last time is no answer this time.
upgrade
[[ $(main) != "$second" ]] && ! grep deb-systemd-invoke $log || says "it hands over once only: $(cat /run/status)"
[[ ! -e /run/roomcast-unit.md5 ]] || says "something is left of it"
kill "$(main)" "$manager"
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
