#!/bin/sh
# Make the root file system of a distribution image in $ROOT.
#
# Runs in a mount and process namespace of its own, so that whatever ends it ends everything it started and
# mounted. Expects ROOT, SUITE, MIRROR, KEYRING ("none": unsigned), BASE (this directory), WORK (sources for the
# build and for the machines, apt settings of the host), MASKED and PACKAGES in the environment.
set -eu
umask 022

step() { echo "STEP $*"; }

step "Fetching and unpacking the base of $SUITE"
if [ "$KEYRING" = none ]; then check=--no-check-gpg; else check=--keyring=$KEYRING; fi
debootstrap "$check" --variant=minbase --include=systemd,systemd-sysv,dbus,ca-certificates "$SUITE" "$ROOT" "$MIRROR"

step "Setting up packages"
mkdir -p "$ROOT/etc/dpkg/dpkg.cfg.d"
cp "$BASE/root/etc/dpkg/dpkg.cfg.d/small" "$ROOT/etc/dpkg/dpkg.cfg.d/"
echo force-unsafe-io > "$ROOT/etc/dpkg/dpkg.cfg.d/build"
cp "$WORK/build.sources" "$ROOT/etc/apt/sources.list.d/debian.sources"
cp "$WORK/build.conf" "$ROOT/etc/apt/apt.conf.d/99build"
[ ! -e /etc/ssl/certs/ca-certificates.crt ] || cp /etc/ssl/certs/ca-certificates.crt "$ROOT/build-ca.crt"
cp /etc/resolv.conf /etc/hosts "$ROOT/etc/"
rm -f "$ROOT/etc/apt/sources.list"
printf '#!/bin/sh\nexit 101\n' > "$ROOT/usr/sbin/policy-rc.d"
chmod 755 "$ROOT/usr/sbin/policy-rc.d"
mount -t proc proc "$ROOT/proc"
inside() { chroot "$ROOT" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"; }
inside apt-get update
inside apt-get dist-upgrade --no-install-recommends --yes
# shellcheck disable=SC2086 # a list of words by intention
inside apt-get install --no-install-recommends --yes $PACKAGES

step "Configuring"
rm "$ROOT/usr/sbin/policy-rc.d" "$ROOT/etc/apt/apt.conf.d/99build" "$ROOT/etc/dpkg/dpkg.cfg.d/build"
rm -f "$ROOT/build-ca.crt" "$ROOT/etc/resolv.conf" "$ROOT/etc/hostname"
cp -R "$BASE/root/." "$ROOT/"
cp "$WORK/machine.sources" "$ROOT/etc/apt/sources.list.d/debian.sources"
chmod 755 "$ROOT/etc/systemd/system-generators/volumes-in-fstab"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' > "$ROOT/etc/hosts"
# shellcheck disable=SC2086
inside systemctl mask $MASKED
inside systemctl enable systemd-networkd.service ssh.service
inside passwd --lock root

step "Cleaning"
inside cloud-init clean --logs --seed --machine-id
inside apt-get clean
umount "$ROOT/proc"
: > "$ROOT/etc/machine-id"
rm -f "$ROOT"/etc/ssh/ssh_host_* "$ROOT/var/lib/dbus/machine-id" "$ROOT/var/lib/systemd/random-seed"
rm -rf "$ROOT"/var/lib/apt/lists/* "$ROOT"/var/cache/apt/*.bin "$ROOT"/var/cache/debconf/*-old "$ROOT"/var/cache/ldconfig
rm -rf "$ROOT"/var/log/*.log "$ROOT"/var/log/apt/* "$ROOT"/var/log/journal "$ROOT"/tmp/* "$ROOT"/var/tmp/*
find "$ROOT/usr/share/doc" -type f ! -name copyright -delete
find "$ROOT/usr/share/doc" -mindepth 1 -type d -empty -delete
rm -rf "$ROOT"/usr/share/man/* "$ROOT"/usr/share/info/* "$ROOT"/usr/share/locale/* "$ROOT"/usr/share/lintian
mkdir -p "$ROOT/var/lib/cloud/seed/nocloud" "$ROOT/var/log/journal"
# Nothing is left to update at the first boot.
touch "$ROOT/etc/.updated" "$ROOT/var/.updated"
