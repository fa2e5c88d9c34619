#!/usr/bin/env bash
# Runs a command in a copy of this system, whose changes go with the mount namespace that this script is run in.
#
# usage: unshare --mount bash tests/package/system.sh FOLDER COMMAND...
set -euo pipefail
folder=$1
shift
mkdir -p "$folder"
mount -t tmpfs -o mode=755 changes "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/system"
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" copy "$folder/system"
mount -t proc proc "$folder/system/proc"
mount --bind /dev "$folder/system/dev"
# The package may lie in a file system that the copy has not.
for argument in "$@"; do
	if [[ $argument == /*.deb ]]; then install -D -m 644 "$argument" "$folder/system$argument"; fi
done
exec chroot "$folder/system" "$@"
