#!/usr/bin/env bash
# Prepares everything the end-to-end tests need and prints the directory that holds it as its last line (the only one on
# standard output). What is there already is not done again: a second run takes well under a second.
#
# What it installs on this machine, with apt and only if missing: mmdebstrap, debian-archive-keyring, cpio, xz-utils, chromium, systemd.
# All else goes into the cache directory (VHOST_TEST_CACHE, by default ~/.cache/vhostd-tests) and changes nothing outside
# of it: Debian packages of two releases are extracted there, not installed, so no service, boot loader or kernel of this
# machine is touched. Removing that directory undoes it.
#
#   root-bookworm-*   Debian 12: QEMU 7.2, qemu-storage-daemon, jq, the kernel and the programs of the test guest
#   root-trixie-*     Debian 13: QEMU 11.1 (backports), libblkio, a C compiler for the libblkio client
#   guest-*           the guest: vmlinux, initramfs.cpio
#   systemd-*         the disk of a guest with systemd: Debian 12's essential packages, installed, not only extracted
#   env-*             bin/ with one starter for each program, guest -> the guest, systemd -> that disk's directory; this is the directory printed
#
# Packages come from the Debian mirror that apt is configured with; without one (Ubuntu) mmdebstrap's own default is used.
# VHOST_TEST_DEBIAN_MIRROR names another.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${VHOST_TEST_CACHE:-${HOME:-/root}/.cache/vhostd-tests}

bookworm_packages=(base-files qemu-system-x86 qemu-utils linux-image-amd64 busybox-static bash kmod coreutils util-linux mount
  fdisk e2fsprogs fio lsscsi sg3-utils jq)
trixie_packages=(base-files qemu-system-x86/trixie-backports qemu-system-common/trixie-backports
  qemu-system-data/trixie-backports seabios/trixie-backports libblkio1 libblkio-dev gcc libc6-dev)
systemd_packages=(systemd-sysv kmod passwd libstdc++6)
libs=lib/x86_64-linux-gnu

say() { echo "setup: $*" >&2; }

# The first 16 digits of the SHA-256 of what is on standard input.
key() { sha256sum | cut -c1-16; }

root_key() { # root_key RELEASE PACKAGE...
  printf '%s\n' "$@" | key
}

bookworm=$cache/root-bookworm-$(root_key bookworm "${bookworm_packages[@]}")
trixie=$cache/root-trixie-$(root_key trixie "${trixie_packages[@]}")
guest=$cache/guest-$({ echo "$bookworm"; cat "$here/guest.sh" "$here"/../guest/*; } | key)
systemd=$cache/systemd-$({ root_key bookworm "${systemd_packages[@]}"; cat "$here/systemd.sh" "$here/../guest/agent"; } | key)
environment=$cache/env-$({ echo "$guest" "$trixie" "$systemd"; cat "$here/install.sh" "$here/libblkio-client.c"; } | key)

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

retry() { # retry COMMAND...: three tries, for commands that use the network
  local try
  for try in 1 2 3; do
    if "$@"; then return 0; fi
    say "try $try of 3 failed: $*"
    sleep $((try * 3))
  done
  return 1
}

install_with_apt() { # install_with_apt PACKAGE...
  say "installing with apt: $*"
  export DEBIAN_FRONTEND=noninteractive
  if ! as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1; then
    retry as_root apt-get update -qq >&2
    retry as_root apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "$@" >/dev/null
  fi
}

# The dashboard is tested in a real browser, one of this machine: it is nothing that the cache could hold.
if ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && ! command -v google-chrome >/dev/null; then
  install_with_apt chromium
fi

# The unit is judged by systemd's own checks; no service manager has to run for that.
command -v systemd-analyze >/dev/null || install_with_apt systemd

if [ -e "$environment/complete" ]; then
  echo "$environment"
  exit 0
fi

mkdir -p "$cache"
exec 8>"$cache/lock"
flock 8
started=$SECONDS

install_host_packages() {
  local missing=()
  command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
  command -v cpio >/dev/null || missing+=(cpio)
  command -v xz >/dev/null || missing+=(xz-utils)
  [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
  [ ${#missing[@]} -gt 0 ] || return 0
  install_with_apt "${missing[@]}"
}

# The mirror of the Debian release this machine runs, as its lists tell; nothing on other distributions.
configured_mirror() {
  # The suite comes without a suffix such as -security or -updates: those are other archives.
  # shellcheck disable=SC2016
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(ORIGIN)' 'Created-By: Packages' 2>/dev/null |
    awk '$3 == "Debian" && $2 !~ /-/ { print $1; exit }'
}

find_mirror() {
  mirror=${VHOST_TEST_DEBIAN_MIRROR:-$(configured_mirror)}
  if [ -z "$mirror" ] && grep -qx 'ID=debian' /etc/os-release; then
    say "apt has no package lists yet: updating them"
    retry as_root apt-get update -qq >&2
    mirror=$(configured_mirror)
  fi
}

make_root() { # make_root DIRECTORY RELEASE BACKPORTS(yes|no) PACKAGE...
  local directory=$1 release=$2 backports=$3 mode=unshare hooks=() arguments
  shift 3
  [ ! -d "$directory" ] || return 0
  say "extracting packages of Debian $release: $*"
  [ "$(id -u)" != 0 ] || mode=root
  if [ "$backports" = yes ]; then
    # Same mirror, same options, one more suite.
    hooks=(--setup-hook="sed -n 's/ $release main/ $release-backports main/p' \"\$1/etc/apt/sources.list\" > \"\$1/etc/apt/sources.list.d/backports.list\"")
  fi
  arguments=(--quiet --variant=extract --mode="$mode" --aptopt='Acquire::Retries "3"' "${hooks[@]}"
    --include="$(IFS=,; echo "$*")" "$release" "$directory.new")
  [ -z "$mirror" ] || arguments+=("$mirror")
  fresh_root() {
    rm -rf "$directory.new"
    mmdebstrap "${arguments[@]}" >"$directory.log" 2>&1
  }
  if ! retry fresh_root; then
    cat "$directory.log" >&2
    exit 1
  fi
  mv "$directory.new" "$directory"
}

make_guest() {
  [ ! -d "$guest" ] || return 0
  say "building the test guest"
  rm -rf "$guest.new"
  mkdir -p "$guest.new"
  "$here/guest.sh" "$bookworm" "$guest.new" >&2
  mv "$guest.new" "$guest"
}

# Maintainer scripts run, so this needs root, as a chroot does. Nothing but the disk is left.
make_systemd() {
  [ ! -d "$systemd" ] || return 0
  say "installing packages of Debian bookworm for a guest with systemd: ${systemd_packages[*]}"
  local arguments=(--quiet --variant=essential --mode=root --format=directory --aptopt='Acquire::Retries "3"'
    --include="$(IFS=,; echo "${systemd_packages[*]}")" bookworm "$systemd.new/root")
  [ -z "$mirror" ] || arguments+=("$mirror")
  fresh_root() {
    as_root rm -rf "$systemd.new"
    mkdir -p "$systemd.new"
    as_root mmdebstrap "${arguments[@]}" >"$systemd.log" 2>&1
  }
  if ! retry fresh_root; then
    cat "$systemd.log" >&2
    exit 1
  fi
  as_root "$here/systemd.sh" "$systemd.new/root" "$systemd.new/root.img"
  as_root rm -rf "$systemd.new/root"
  mv "$systemd.new" "$systemd"
}

# A starter runs a program of a root with that root's own loader and libraries, in the file system of this machine: no
# chroot, no mount, no privilege.
make_starter() { # make_starter NAME ROOT PROGRAM ARGUMENT...
  local name=$1 root=$2 program=$3
  shift 3
  {
    echo '#!/bin/sh'
    echo "export QEMU_MODULE_DIR='$root/usr/$libs/qemu'"
    printf "exec '%s' --library-path '%s' '%s'" "$root/$libs/ld-linux-x86-64.so.2" "$root/$libs:$root/usr/$libs" "$root$program"
    [ $# = 0 ] || printf " '%s'" "$@"
    # shellcheck disable=SC2016
    echo ' "$@"'
  } >"$environment.new/bin/$name"
  chmod 755 "$environment.new/bin/$name"
}

# The client is compiled with the release's own compiler against its own libblkio: the machine needs no compiler.
make_libblkio_client() {
  say "compiling the libblkio client"
  local work=$trixie/tmp/libblkio-client
  rm -rf "$work"
  mkdir -p "$work"
  cp "$here/libblkio-client.c" "$work/"
  as_root chroot "$trixie" /usr/bin/gcc -std=gnu17 -O2 -Wall -Wextra -Werror -pthread -o /tmp/libblkio-client/libblkio-client \
    /tmp/libblkio-client/libblkio-client.c -lblkio >&2
  mkdir -p "$environment.new/libexec"
  mv "$work/libblkio-client" "$environment.new/libexec/libblkio-client"
  rm -rf "$work"
}

install_host_packages
if [ ! -d "$bookworm" ] || [ ! -d "$trixie" ] || [ ! -d "$systemd" ]; then
  find_mirror
fi
make_root "$bookworm" bookworm no "${bookworm_packages[@]}"
make_root "$trixie" trixie yes "${trixie_packages[@]}"
make_guest
make_systemd

rm -rf "$environment" "$environment.new"
mkdir -p "$environment.new/bin"
ln -s "$guest" "$environment.new/guest"
ln -s "$systemd" "$environment.new/systemd"
for release in bookworm trixie; do
  root=${!release}
  make_starter "qemu-$release" "$root" /usr/bin/qemu-system-x86_64 -L "$root/usr/share/seabios" -L "$root/usr/share/qemu"
done
make_starter qemu-storage-daemon "$bookworm" /usr/bin/qemu-storage-daemon
make_starter jq "$bookworm" /usr/bin/jq
make_libblkio_client
# The client is no file of the root, so its starter names it by its own path.
make_starter libblkio-client "$trixie" ""
sed -i "s#'$trixie' \"#'$environment/libexec/libblkio-client' \"#" "$environment.new/bin/libblkio-client"
mv "$environment.new" "$environment"
touch "$environment/complete"
say "done in $((SECONDS - started)) s: $environment"
echo "$environment"
