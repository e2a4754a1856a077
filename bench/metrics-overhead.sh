#!/usr/bin/env bash
# What metrics cost: the load generator against a null disk, without metrics and with metrics that are scraped every second, in turns. Prints each rate and the
# ratio of the medians. Needs two quiet CPUs, python3, and a published vhostd.
#   bench/metrics-overhead.sh VHOSTD-DIRECTORY [ROUNDS [SECONDS]]
set -euo pipefail
vhostd=$1/vhostd
rounds=${2:-5}
seconds=${3:-3}
work=$(mktemp -d)
server=
scraper=
stop() { for pid in $scraper $server; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done; server=; scraper=; }
trap 'stop; rm -rf "$work"' EXIT
mapfile -t cpus < <(python3 -c 'import os; print(*sorted(os.sched_getaffinity(0)), sep="\n")')
[ ${#cpus[@]} -ge 2 ] || { echo "two CPUs are needed" >&2; exit 1; }
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

measure() { # measure off|on
  local options=()
  [ "$1" = off ] || options=(--metrics "127.0.0.1:$port")
  rm -f "$work/ready"
  "$vhostd" -S "$work" -r "$work/rpc.sock" -m "[${cpus[0]}]" "${options[@]}" > "$work/ready" 2> "$work/log" &
  server=$!
  until grep -qs ready "$work/ready"; do kill -0 "$server"; sleep 0.1; done
  "$vhostd" rpc -s "$work/rpc.sock" bdev_null_create name=N0 num_blocks=2097152 block_size=512 > /dev/null
  "$vhostd" rpc -s "$work/rpc.sock" vhost_create_blk_controller ctrlr=vhost.0 dev_name=N0 > /dev/null
  if [ "$1" = on ]; then
    python3 -c 'import sys, time, urllib.request
while True:
    urllib.request.urlopen(sys.argv[1]).read()
    time.sleep(1)' "http://127.0.0.1:$port/metrics" &
    scraper=$!
  fi
  "$vhostd" bench "$work/vhost.0" --queue-depth 32 --cpu "${cpus[1]}" --seconds "$seconds" --warm-up 1 --json |
    python3 -c 'import json, sys; print(round(json.load(sys.stdin)["result"]["iops"]))'
  stop
}

measure off > /dev/null
for ((round = 1; round <= rounds; round++)); do
  # The order changes, so that what drifts meets both.
  if ((round % 2)); then order="off on"; else order="on off"; fi
  for mode in $order; do
    rate=$(measure $mode)
    echo "$rate" >> "$work/rates-$mode"
    echo "round $round, metrics $mode: $rate IOPS"
  done
done
python3 - "$work" <<'END'
import statistics, sys
rates = {mode: [int(line) for line in open(f"{sys.argv[1]}/rates-{mode}")] for mode in ("off", "on")}
off, on = (statistics.median(rates[mode]) for mode in ("off", "on"))
print(f"median without {off:.0f} IOPS, with {on:.0f} IOPS: {(off - on) / off * 100:+.2f} % (spread without: {(max(rates['off']) - min(rates['off'])) / off * 100:.1f} %)")
END
