#!/usr/bin/env bash
# Measures vhostd beside qemu-storage-daemon with the same client in one run: one target CPU, one client CPU, the servers in turn,
# medians of several rounds. Run it on an otherwise idle machine with two CPUs, as root, after scripts/test.sh has built everything.
#   bench/compare.sh [ROUNDS] [SECONDS]     defaults 5 and 2
# Each line: the case, vhostd's IOPS, the peer's, their ratio, and the p99.9 latencies in microseconds.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5}; seconds=${2:-2}
vhostd=${VHOST_TEST_VHOSTD:-artifacts/vhostd}/vhostd
client=bench/bin/Release/net10.0/vhost-bench
tools=$(tests/setup/install.sh | tail -n 1)
jq=$tools/bin/jq; [ -x "$jq" ] || jq=jq
work=$(mktemp -d /dev/shm/vhost-compare.XXXXXX); disk=$(mktemp /var/tmp/vhost-compare.XXXXXX)
servers=()
stop_servers() { for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done; servers=(); }
trap 'stop_servers; rm -rf "$work" "$disk"' EXIT
truncate -s 256M "$work/tmpfs.img" "$disk"
# Written once: a hole is not a disk.
dd if=/dev/zero of="$work/tmpfs.img" bs=1M count=256 conv=notrunc status=none
dd if=/dev/zero of="$disk" bs=1M count=256 conv=notrunc,fsync status=none

wait_for() { for _ in $(seq 100); do [ -S "$1" ] && return; sleep 0.1; done; echo "no server at $1" >&2; cat "$work"/*.log >&2; exit 1; }
start_vhostd() { # BDEV-JSON CONTROLLER-JSON
  cat > "$work/manifest.json" <<JSON
{ "reactors": { "cpumask": "0x1" }, "bdevs": { "B": $1 }, "transports": { "t": { "type": "vhost-user", "socket": "$work/vhostd.sock" } },
  "controllers": { "c": { "transport": "t", $2 } } }
JSON
  "$vhostd" run "$work/manifest.json" > "$work/vhostd.log" 2>&1 & servers+=($!); wait_for "$work/vhostd.sock"
}
start_peer() { # BLOCKDEV...
  taskset -c 0 "$tools/bin/qemu-storage-daemon" --object iothread,id=io "$@" \
    --export "type=vhost-user-blk,id=e,node-name=n,iothread=io,addr.type=unix,addr.path=$work/peer.sock,writable=on,num-queues=1" > "$work/peer.log" 2>&1 &
  servers+=($!); wait_for "$work/peer.sock"
}
measure() { # SOCKET OPTION... -> "iops p999"
  local socket=$1; shift
  "$client" --socket "$socket" --cpu 1 --seconds "$seconds" --warm-up 1 --json "$@" | "$jq" -r '"\(.result.iops) \(.result.p999Microseconds)"'
}
median() { sort -g | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
compare() { # NAME HAS_PEER OPTION...
  local name=$1 has_peer=$2; shift 2
  : > "$work/ours"; : > "$work/theirs"
  for _ in $(seq "$rounds"); do
    kill -CONT "${servers[0]}"; [ "$has_peer" = 1 ] && kill -STOP "${servers[1]}"
    measure "$work/vhostd.sock" "$@" >> "$work/ours"
    [ "$has_peer" = 1 ] || continue
    # A server that polls would take the CPU from the other one.
    kill -STOP "${servers[0]}"; kill -CONT "${servers[1]}"
    measure "$work/peer.sock" "${@/Scsi/Blk}" >> "$work/theirs"
    kill -CONT "${servers[0]}"
  done
  local ours theirs ours_tail theirs_tail
  ours=$(cut -d' ' -f1 "$work/ours" | median); ours_tail=$(cut -d' ' -f2 "$work/ours" | median)
  if [ "$has_peer" = 1 ]; then
    theirs=$(cut -d' ' -f1 "$work/theirs" | median); theirs_tail=$(cut -d' ' -f2 "$work/theirs" | median)
    awk -v n="$name" -v o="$ours" -v t="$theirs" -v a="$ours_tail" -v b="$theirs_tail" 'BEGIN { printf "| %-34s | %8.0f k | %8.0f k | %5.2f | %8.1f | %8.1f |\n", n, o / 1000, t / 1000, o / t, a, b }'
  else
    awk -v n="$name" -v o="$ours" -v a="$ours_tail" 'BEGIN { printf "| %-34s | %8.0f k |            |       | %8.1f |          |\n", n, o / 1000, a }'
  fi
}

echo "$(date -u +%F), $(nproc) CPUs: $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1), kernel $(uname -r), $rounds rounds of $seconds s"
"$client" --ping-pong 0,1
printf '| %-34s | %10s | %10s | %5s | %8s | %8s |\n|---|---|---|---|---|---|\n' case "vhostd" "qemu-s-d" ratio "p99.9 us" "peer's"
start_vhostd '{ "type": "null", "sizeMiB": 1024 }' '"type": "blk", "bdev": "B"'
start_peer --blockdev driver=null-co,node-name=n,size=1073741824,read-zeroes=off
compare "blk, null, 4 KiB, QD1" 1 --queue-depth 1
compare "blk, null, 4 KiB, QD32" 1 --queue-depth 32
stop_servers
start_vhostd '{ "type": "malloc", "sizeMiB": 256 }' '"type": "blk", "bdev": "B"'
measure "$work/vhostd.sock" --block-size 131072 --pattern seq --read-percent 0 --queue-depth 16 > /dev/null
compare "blk, malloc, 4 KiB read, QD1" 0 --queue-depth 1
compare "blk, malloc, 4 KiB read, QD32" 0 --queue-depth 32
compare "blk, malloc, 4 KiB write, QD32" 0 --queue-depth 32 --read-percent 0
compare "blk, malloc, 128 KiB seq read, QD16" 0 --queue-depth 16 --block-size 131072 --pattern seq
stop_servers
start_vhostd '{ "type": "malloc", "sizeMiB": 256 }' '"type": "scsi", "targets": { "0": "B" }'
measure "$work/vhostd.sock" --device scsi --block-size 131072 --pattern seq --read-percent 0 --queue-depth 16 > /dev/null
compare "scsi, malloc, 4 KiB read, QD32" 0 --device scsi --queue-depth 32
compare "scsi, malloc, 128 KiB seq read, QD16" 0 --device scsi --queue-depth 16 --block-size 131072 --pattern seq
stop_servers
for where in tmpfs disk; do
  file=$work/tmpfs.img; [ "$where" = disk ] && file=$disk
  start_vhostd "{ \"type\": \"file\", \"path\": \"$file\" }" '"type": "blk", "bdev": "B"'
  start_peer --blockdev "driver=file,node-name=n,filename=$file,aio=io_uring,locking=off"
  compare "blk, file on $where, 4 KiB read, QD1" 1 --queue-depth 1
  compare "blk, file on $where, 4 KiB read, QD32" 1 --queue-depth 32
  stop_servers
done
"$client" --ping-pong 0,1
