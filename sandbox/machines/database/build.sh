#!/bin/sh
# Add the database engines to the distribution image in $BELOW; the difference is left in $WORK/root.
#
# Runs in a mount and process namespace of its own, so that whatever ends it ends everything it started and mounted.
# Expects BELOW, WORK (package sources and apt settings for the build), FILES (this directory), PACKAGES and MASKED in
# the environment.
set -eu
umask 022

step() { echo "STEP $*"; }

upper=$WORK/root root=$WORK/merged
mkdir "$upper" "$root" "$WORK/overlay"
mount -t overlay overlay -o "lowerdir=$BELOW,upperdir=$upper,workdir=$WORK/overlay" "$root"
mount -t proc proc "$root/proc"
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"; }

step "Installing the database engines"
cp -R "$FILES/root/." "$root/"
echo force-unsafe-io > "$root/etc/dpkg/dpkg.cfg.d/build"
cp "$WORK/build.sources" "$root/etc/apt/sources.list.d/debian.sources"
cp "$WORK/build.conf" "$root/etc/apt/apt.conf.d/99build"
[ ! -e /etc/ssl/certs/ca-certificates.crt ] || cp /etc/ssl/certs/ca-certificates.crt "$root/build-ca.crt"
rm -f "$root/etc/resolv.conf"
cp /etc/resolv.conf /etc/hosts "$root/etc/"
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
inside apt-get update
# shellcheck disable=SC2086 # a list of words by intention
inside apt-get install --no-install-recommends --yes $PACKAGES

step "Laying empty databases by"
# What the packages made at installation is what a new cluster's volume starts from.
mkdir "$root/usr/share/managed-database"
mv "$root/var/lib/mysql" "$root/usr/share/managed-database/mysql"
mv "$root"/var/lib/postgresql/*/main "$root/usr/share/managed-database/pg"
ln -s "$(inside sh -c 'echo /usr/lib/postgresql/*/bin')" "$root/usr/local/lib/postgresql"
# Both engines read the key of the cluster's certificate.
inside adduser --quiet mysql ssl-cert
inside systemctl disable mariadb.service postgresql.service
# shellcheck disable=SC2086
inside systemctl mask $MASKED

step "Cleaning"
chmod 755 "$root/usr/local/sbin/managed-data"
inside apt-get clean
umount "$root/proc" "$root"
rmdir "$root"
rm -rf "$WORK/overlay"
# What the image below has is seen again once it is gone from the difference.
rm -f "$upper/usr/sbin/policy-rc.d" "$upper/etc/apt/apt.conf.d/99build" "$upper/etc/dpkg/dpkg.cfg.d/build"
rm -f "$upper/build-ca.crt" "$upper/etc/resolv.conf" "$upper/etc/hosts" "$upper/etc/apt/sources.list.d/debian.sources"
rm -rf "$upper"/var/lib/apt/lists/* "$upper"/var/cache/apt/*.bin "$upper"/var/log/*.log "$upper"/var/log/apt/* "$upper"/tmp/*
touch "$upper/etc/.updated" "$upper/var/.updated"
