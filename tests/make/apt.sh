#!/usr/bin/env bash
# Installs packages of the system, as root. No package may start anything: a test starts its own servers, on its own ports,
# and what else runs on the machine is none of its business.
#
# usage: tests/make/apt.sh PACKAGE...
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

# invoke-rc.d and systemd's helper ask this program first, and 101 is "not allowed".
policy=/usr/sbin/policy-rc.d
kept=
if [[ -e $policy ]]; then
	kept=$(mktemp)
	cp -p "$policy" "$kept"
fi
restore() {
	if [[ -n $kept ]]; then mv "$kept" "$policy"; else rm -f "$policy"; fi
}
trap restore EXIT
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

apt-get update -qq
# PostgreSQL's packages make a cluster that would start with the machine.
if [[ " $* " == *" postgresql "* ]]; then
	apt-get install -y -qq --no-install-recommends postgresql-common
	sed -Ei 's/^#?(create_main_cluster).*/\1 = false/' /etc/postgresql-common/createcluster.conf
fi
apt-get install -y -qq --no-install-recommends "$@"
# Nor when the machine starts the next time.
for service in pgbouncer redis-server nats-server haproxy nginx; do
	if [[ " $* " == *" $service "* ]] && command -v systemctl >/dev/null; then
		systemctl disable --quiet "$service" 2>/dev/null || true
	fi
done
