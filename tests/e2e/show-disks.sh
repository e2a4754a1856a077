#!/usr/bin/env bash
# Boots a Linux guest on the sockets of a running vhostd and prints what the guest itself says of its disks.
#   show-disks.sh [-q bookworm|trixie] [-c COMMAND] scsi:SOCKET|blk:SOCKET...
# -q chooses QEMU 7.2 (bookworm, the default) or 11.1 (trixie); -c another command than lsscsi and lsblk. The exit code is the
# command's own; 1 when the guest did not come that far, with the end of its console.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
qemu=bookworm
# Every SCSI disk has an sg node and a block node, whatever is on it; SIZE is what READ CAPACITY said.
command='wait-disks; echo "\$ lsscsi -s -g"; lsscsi -s -g; echo; echo "\$ lsblk"; lsblk -o NAME,SIZE,LOG-SEC,RO,TYPE,MODEL'
while getopts q:c: option; do
  case $option in
    q) qemu=$OPTARG ;;
    c) command=$OPTARG ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }

environment=$("$here/../setup/install.sh")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
devices=()
number=0
for disk in "$@"; do
  case $disk in
    scsi:*) model=vhost-user-scsi-pci ;;
    blk:*) model=vhost-user-blk-pci ;;
    *) echo "show-disks.sh: neither scsi:SOCKET nor blk:SOCKET: $disk" >&2; exit 2 ;;
  esac
  devices+=(-chardev "socket,id=disk$number,path=${disk#*:}" -device "$model,chardev=disk$number")
  number=$((number + 1))
done

timeout --kill-after=5 120 "$environment/bin/qemu-$qemu" -nodefaults -no-user-config -display none -no-reboot \
  -machine q35,memory-backend=ram -accel tcg,thread=multi -cpu max -smp 2 \
  -m 512M -object memory-backend-memfd,id=ram,size=512M,share=on \
  -kernel "$environment/guest/vmlinux" -initrd "$environment/guest/initramfs.cpio" \
  -append "console=ttyS0 quiet panic=-1 no_timer_check scsi_mod.scan=sync guest.run=$(printf '%s' "$command" | base64 -w 0)" \
  -serial "file:$work/console" \
  -chardev "file,id=agent,path=$work/agent" -device virtio-serial-pci,max_ports=2 -device virtserialport,chardev=agent,name=vhostd.agent \
  "${devices[@]}" >"$work/qemu" 2>&1 || true

if ! reply=$(grep -a '^DONE 0 ' "$work/agent"); then
  echo "show-disks.sh: the guest did not answer" >&2
  cat "$work/qemu" >&2
  tail -n 40 "$work/console" >&2
  exit 1
fi
read -r _ _ code output <<<"$reply"
base64 -d <<<"${output:-}"
exit "$code"
