#!/usr/bin/env bash
# Makes a Debian package: a self-contained vhostd (no .NET needed on the target), the load generator, a man page, completion, a systemd unit and a manifest.
#   packaging/make-deb.sh [--from DIR] [--architecture amd64|arm64] [--compression xz|gzip|none] [OUTPUT-DIRECTORY]
#   --from DIR           package what was published there already, instead of publishing
#   --architecture ARCH  for a machine of another kind; the manual page, completion and schema then come from a build for this one
#   --compression KIND   of the package; none is made and installed fastest
# Needs the .NET SDK and dpkg-deb. Prints the package's path as its last line.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
from=
here=$(dpkg --print-architecture)
architecture=$here
compression=xz
while [ $# -gt 0 ]; do
  case $1 in
    --from) from=$(cd "$2" && pwd); shift 2 ;;
    --architecture) architecture=$2; shift 2 ;;
    --compression) compression=$2; shift 2 ;;
    --help|-h) sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    -*) echo "make-deb.sh: unknown option $1" >&2; exit 2 ;;
    *) break ;;
  esac
done
output=${1:-$root/artifacts}
version=$(sed -n 's/.*<Version>\(.*\)<\/Version>.*/\1/p' "$root/Directory.Build.props" | head -n 1)
case $architecture in
  amd64) rid=linux-x64 ;;
  arm64) rid=linux-arm64 ;;
  *) echo "make-deb.sh: vhostd is not made for $architecture" >&2; exit 1 ;;
esac

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"
lib=$stage/usr/lib/vhostd
mkdir -p "$output" "$lib" "$stage/DEBIAN" "$stage/usr/bin" "$stage/usr/share/"{man/man8,bash-completion/completions,zsh/vendor-completions,vhostd,doc/vhostd} \
  "$stage/usr/lib/systemd/system" "$stage/etc/vhostd"

if [ -n "$from" ]; then
  cp -a "$from/." "$lib/"
else
  export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1
  dotnet publish "$root/host" -c Release -r "$rid" --self-contained -o "$lib" -v q -nologo >&2
  # Into the same folder: the load generator runs on vhostd's own copy of the runtime.
  dotnet publish "$root/bench" -c Release -r "$rid" --self-contained -o "$lib" -v q -nologo >&2
fi
printer=$lib/vhostd
if [ "$architecture" != "$here" ]; then
  # What the program prints is the same for all.
  dotnet build "$root/host" -c Release -v q -nologo >&2
  printer=$root/host/bin/Release/net10.0/vhostd
fi
find "$lib" -name '*.pdb' -delete
find "$lib" -type d -exec chmod 755 {} +
find "$lib" -type f -exec chmod 644 {} +
chmod 755 "$lib/vhostd"
for program in "$lib/vhost-bench" "$lib/bench/vhost-bench" "$lib/createdump"; do [ ! -e "$program" ] || chmod 755 "$program"; done

ln -s ../lib/vhostd/vhostd "$stage/usr/bin/vhostd"
install -m 644 "$root/packaging/vhostd.service" "$stage/usr/lib/systemd/system/vhostd.service"
install -m 640 "$root/packaging/vhostd.json" "$stage/etc/vhostd/vhostd.json"
install -m 644 "$root/packaging/pci.conf" "$root/LICENSE" "$stage/usr/share/doc/vhostd/"
install -m 644 "$root"/docs/*.md "$stage/usr/share/doc/vhostd/"
"$printer" man | gzip -9n > "$stage/usr/share/man/man8/vhostd.8.gz"
"$printer" completion bash > "$stage/usr/share/bash-completion/completions/vhostd"
"$printer" completion zsh > "$stage/usr/share/zsh/vendor-completions/_vhostd"
"$printer" schema > "$stage/usr/share/vhostd/vhostd.schema.json"
chmod 644 "$stage/usr/share/man/man8/vhostd.8.gz" "$stage/usr/share/bash-completion/completions/vhostd" "$stage/usr/share/zsh/vendor-completions/_vhostd" "$stage/usr/share/vhostd/vhostd.schema.json"

cat > "$stage/DEBIAN/control" <<END
Package: vhostd
Version: $version
Architecture: $architecture
Maintainer: The vhostd authors <vhostd@localhost>
Installed-Size: $(du -sk --exclude=DEBIAN "$stage" | cut -f1)
Depends: libc6 (>= 2.28), libgcc-s1, libstdc++6, passwd
Recommends: systemd
Section: admin
Priority: optional
Description: block storage for virtual machines over vhost-user and virtio-vhost-user
 Serves vhost-user-scsi and vhost-user-blk devices to QEMU and other VMMs. Every part
 is a plugin: transports, device types and block devices (memory, files, NVMe and
 virtio-scsi in user space), joined by a JSON manifest or by SPDK's JSON-RPC.
END
echo /etc/vhostd/vhostd.json > "$stage/DEBIAN/conffiles"
cat > "$stage/DEBIAN/postinst" <<'END'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
  getent group vhostd >/dev/null || groupadd --system vhostd
  getent passwd vhostd >/dev/null || useradd --system --gid vhostd --home-dir /var/lib/vhostd --no-create-home --shell /usr/sbin/nologin vhostd
  chgrp vhostd /etc/vhostd/vhostd.json
  if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
    # A running service keeps its guests: it is restarted by its administrator, not by an upgrade.
    echo "vhostd: edit /etc/vhostd/vhostd.json, then: systemctl enable --now vhostd"
  fi
fi
END
cat > "$stage/DEBIAN/prerm" <<'END'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then systemctl disable --now vhostd.service || true; fi
END
cat > "$stage/DEBIAN/postrm" <<'END'
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
END
chmod 755 "$stage/DEBIAN/postinst" "$stage/DEBIAN/prerm" "$stage/DEBIAN/postrm"
package=$output/vhostd_${version}_$architecture.deb
level=(); [ "$compression" = none ] || level=(-z1)
dpkg-deb --root-owner-group "-Z$compression" "${level[@]}" --build "$stage" "$package" >&2
echo "$package"
