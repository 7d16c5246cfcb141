#!/bin/sh
# Keep one machine running, with or without the cloud's daemon: mount its disk, boot it, boot it again when it
# reboots, and end when it is off. Lives in a mount namespace of its own, so every mount ends with it.
#
# usage: runner.sh DIRECTORY LOWER-LAYERS CGROUP COMMAND...
#   DIRECTORY  of the machine: upper, work, root, devices, volumes; gets `pid`, holds `lock`
#   CGROUP     a cgroup v2 directory; `runner` and `box` are made in it. $JOIN: v1 cgroups to be in, if any.
# TERM asks the machine to shut down.
set -u
dir=$1 lower=$2 cgroup=$3
shift 3

exec 9>"$dir/lock"
flock --nonblock 9 || { echo "runner: another process runs this machine"; exit 75; }

for place in ${JOIN:-} "$cgroup/runner"; do
	mkdir -p "$place" && echo $$ >"$place/cgroup.procs" || exit 70
done

# Process id, start time (clock ticks) and boot of the host: together they are never given twice.
read -r stat </proc/$$/stat
read -r boot </proc/sys/kernel/random/boot_id
start=$(echo "${stat##*) }" | cut -d' ' -f20)
echo "$$ $start $boot" >"$dir/pid.new" && mv "$dir/pid.new" "$dir/pid" || exit 70

mkdir -p "$dir/root" "$dir/devices" /run/systemd/nspawn || exit 70
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$dir/upper,workdir=$dir/work" "$dir/root" || exit 70
mount -t tmpfs -o size=128k,mode=755 devices "$dir/devices" || exit 70
mount -t tmpfs -o size=1m,mode=755 nspawn /run/systemd/nspawn || exit 70
while read -r major minor name _; do
	mknod -m 660 "$dir/devices/$name" b "$major" "$minor" || exit 70
done <"$dir/volumes"

child='' stopping=''
trap 'stopping=1; [ -z "$child" ] || kill -TERM "$child"' TERM
while [ -z "$stopping" ]; do
	[ ! -d "$cgroup/box" ] || find "$cgroup/box" -depth -type d -exec rmdir {} +
	mkdir -p "$cgroup/box"
	# shellcheck disable=SC2016 # expanded by the inner shell
	sh -c 'echo $$ >"$0" && exec setpriv --pdeathsig KILL "$@"' "$cgroup/box/cgroup.procs" "$@" &
	child=$!
	[ -z "$stopping" ] || kill -TERM "$child"
	code=0
	while kill -0 "$child" 2>/dev/null; do
		wait "$child"
		code=$?
	done
	child=''
	# 133 is how systemd-nspawn says that the machine asked to be booted again.
	[ "$code" = 133 ] || break
	echo "runner: rebooting"
done
echo "runner: the machine is off (exit code $code)"
exit "$code"
