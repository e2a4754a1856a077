#!/usr/bin/env bash
# Finishes the root of the guest with systemd and makes its disk: systemd.sh ROOT IMAGE. Run as root. ROOT has Debian's packages, configured; IMAGE
# becomes an ext4 without partitions. The kernel and its modules are the test guest's, which hands over to this system with guest.root=<disk>.
set -euo pipefail
root=$1
image=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

mkdir -p "$root/usr/lib/guest" "$root/lib/modules"
cp "$here/../guest/agent" "$root/usr/lib/guest/agent"
cat >"$root/etc/systemd/system/guest-agent.service" <<'END'
[Unit]
Description=Takes commands of the tests
DefaultDependencies=no
After=sysinit.target

[Service]
ExecStart=/bin/sh /usr/lib/guest/agent
StandardOutput=null
Environment=HOME=/root

[Install]
WantedBy=multi-user.target
END
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../guest-agent.service "$root/etc/systemd/system/multi-user.target.wants/guest-agent.service"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
# Nobody logs in, nothing is on a network, and an emulated CPU has better things to do.
for unit in getty.target systemd-logind.service systemd-networkd.service systemd-timesyncd.service systemd-resolved.service e2scrub_all.timer e2scrub_reap.service \
  fstrim.timer apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-pcrphase.service \
  systemd-pcrphase-sysinit.service systemd-binfmt.service systemd-machine-id-commit.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
echo appliance >"$root/etc/hostname"
echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
: >"$root/etc/fstab"
rm -rf "${root:?}"/usr/share/{doc,man,locale,info}/* "${root:?}"/var/cache/apt/* "${root:?}"/var/lib/apt/lists/* "${root:?}"/usr/lib/systemd/{*.efi*,boot} "${root:?}"/usr/lib/udev/hwdb.bin

rm -f "$image"
mke2fs -q -F -t ext4 -O ^has_journal -d "$root" "$image" 1200M
