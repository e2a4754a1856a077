#!/usr/bin/env bash
# Builds the test guest: guest.sh ROOT OUT. ROOT is a directory with Debian's packages extracted (see install.sh); OUT gets
# vmlinux (uncompressed, so that no emulated CPU has to do it) and initramfs.cpio.
set -euo pipefail
root=$1
out=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
guest=$here/../guest
tree=$out/tree
libs=lib/x86_64-linux-gnu
search=$root/$libs:$root/usr/$libs:$root/usr/$libs/ceph
loader=$root/$libs/ld-linux-x86-64.so.2

mkdir -p "$tree"/{bin,sbin,usr/bin,usr/sbin,lib,lib64,dev,proc,sys,run,root,etc,tmp,mnt}

kernel=$(find "$root/boot" -name 'vmlinuz-*' | sort -V | tail -1)
version=${kernel##*/vmlinuz-}
offset=$(LC_ALL=C grep -abo -m1 -F $'\xfd7zXZ' "$kernel" | head -1 | cut -d: -f1)
xz -dc --single-stream < <(tail -c +$((offset + 1)) "$kernel") >"$out/vmlinux"

# Modules, with everything they depend on.
"$loader" --argv0 depmod --library-path "$search" "$root/bin/kmod" -b "$root" "$version"
modules=lib/modules/$version
: >"$tree/etc/modules.boot"
while read -r word name; do
  case $word in
    '' | '#'*) continue ;;
    boot) echo "$name" >>"$tree/etc/modules.boot" ;;
    *) name=$word ;;
  esac
  line=$(grep -E "/${name//[-_]/[-_]}\.ko:" "$root/$modules/modules.dep" || true)
  if [ -z "$line" ]; then
    if grep -qE "/${name//[-_]/[-_]}\.ko$" "$root/$modules/modules.builtin"; then
      continue
    fi
    echo "guest.sh: kernel $version has no module $name" >&2
    exit 1
  fi
  for file in ${line/:/}; do
    mkdir -p "$tree/$modules/${file%/*}"
    cp -n "$root/$modules/$file" "$tree/$modules/$file"
  done
done <"$guest/modules.list"
cp "$root/$modules"/modules.{order,builtin,builtin.modinfo} "$tree/$modules/"
"$loader" --argv0 depmod --library-path "$search" "$root/bin/kmod" -b "$tree" "$version"

# Programs, with the libraries they need.
cp "$loader" "$tree/lib64/"
while read -r tool; do
  case $tool in '' | '#'*) continue ;; esac
  mkdir -p "$tree/${tool%/*}"
  cp -L "$root$tool" "$tree$tool"
  "$loader" --library-path "$search" --list "$root$tool" | awk '/=> \// { print $3 }' | while read -r library; do
    target=$tree${library#"$root"}
    if [ ! -e "$target" ]; then
      mkdir -p "${target%/*}"
      cp -L "$library" "$target"
    fi
  done
done <"$guest/tools.list"
cp "$root/bin/busybox" "$tree/bin/busybox"
"$root/bin/busybox" --list | while read -r applet; do
  [ -e "$tree/bin/$applet" ] || ln -s busybox "$tree/bin/$applet"
done
[ -e "$root/etc/mke2fs.conf" ] && cp "$root/etc/mke2fs.conf" "$tree/etc/"
ln -s ../proc/self/mounts "$tree/etc/mtab"
cp "$guest/init" "$tree/init"
mkdir -p "$tree/usr/lib/guest"
cp "$guest/agent" "$tree/usr/lib/guest/agent"
cp "$guest/wait-disks" "$tree/usr/bin/wait-disks"
chmod 755 "$tree/init" "$tree/usr/bin/wait-disks"

(cd "$tree" && find . -print0 | LC_ALL=C sort -z | cpio --quiet --null -o -H newc --reproducible -R 0:0) >"$out/initramfs.cpio"
rm -rf "$tree"
echo "$version" >"$out/version"
