#!/usr/bin/env bash
# What metrics cost: the load generator against a null disk, in turns against a vhostd without metrics and one with them that is not scraped, scraped every
# 15 seconds (Prometheus's usual interval) and every second. Both run all the time, the idle one stopped; what is compiled at the first scrapes, and at the
# first requests, is compiled before the first round. Prints each rate and the medians. Needs two quiet CPUs, python3, and a published vhostd.
#   bench/metrics-overhead.sh VHOSTD-DIRECTORY [ROUNDS [SECONDS [WARM-UP-SCRAPES]]]
set -euo pipefail
vhostd=$1/vhostd
rounds=${2:-3}
seconds=${3:-15}
warm_scrapes=${4:-150}
work=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill -CONT "$pid" 2>/dev/null || true; kill "$pid" 2>/dev/null || true; done; wait; rm -rf "$work"' EXIT
mapfile -t cpus < <(python3 -c 'import os; print(*sorted(os.sched_getaffinity(0)), sep="\n")')
[ ${#cpus[@]} -ge 2 ] || { echo "two CPUs are needed" >&2; exit 1; }
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
declare -A server

serve() { # serve NAME OPTION...
  local name=$1; shift
  mkdir "$work/$name"
  "$vhostd" -S "$work/$name" -r "$work/$name/rpc.sock" -m "[${cpus[0]}]" "$@" > "$work/$name/ready" 2> "$work/$name/log" &
  server[$name]=$!
  pids+=($!)
  until grep -qs ready "$work/$name/ready"; do kill -0 "${server[$name]}"; sleep 0.1; done
  "$vhostd" rpc -s "$work/$name/rpc.sock" bdev_null_create name=N0 num_blocks=2097152 block_size=512 > /dev/null
  "$vhostd" rpc -s "$work/$name/rpc.sock" vhost_create_blk_controller ctrlr=vhost.0 dev_name=N0 > /dev/null
}

load() { # load NAME SECONDS
  "$vhostd" bench "$work/$1/vhost.0" --queue-depth 32 --cpu "${cpus[1]}" --seconds "$2" --warm-up 1 --json | python3 -c 'import json, sys; print(round(json.load(sys.stdin)["result"]["iops"]))'
}

# One connection and no parsing: what is measured is vhostd's part. Scrapes in the middle of each interval.
cat > "$work/scrape.py" <<'END'
import http.client, sys, time
port, interval, count = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
connection = http.client.HTTPConnection("127.0.0.1", port)
for _ in range(count):
    time.sleep(interval / 2)
    connection.request("GET", "/metrics")
    connection.getresponse().read()
    time.sleep(interval / 2)
END

measure() { # measure MODE
  local name=metrics scraper=
  [ "$1" != off ] || name=plain
  kill -CONT "${server[$name]}"
  case $1 in
    every-15s) python3 "$work/scrape.py" "$port" "$((seconds < 15 ? seconds : 15))" 1000 & scraper=$! ;;
    every-1s) python3 "$work/scrape.py" "$port" 1 1000 & scraper=$! ;;
  esac
  [ -z "$scraper" ] || pids+=("$scraper")
  load "$name" "$seconds"
  [ -z "$scraper" ] || { kill "$scraper"; wait "$scraper" 2> /dev/null || true; }
  kill -STOP "${server[$name]}"
}

serve plain
serve metrics --metrics "127.0.0.1:$port"
load plain 2 > /dev/null
load metrics 2 > /dev/null
cpu_ms() { awk '{ sum += $1 } END { print int(sum / 1e6) }' "/proc/$1/task/"*/schedstat; }
before=$(cpu_ms "${server[metrics]}")
python3 "$work/scrape.py" "$port" 0.02 1
first=$(cpu_ms "${server[metrics]}")
python3 "$work/scrape.py" "$port" 0.05 "$warm_scrapes"
echo "CPU time of vhostd: $((first - before)) ms for the first scrape, $((($(cpu_ms "${server[metrics]}") - first))) ms for the next $warm_scrapes"
sleep 1
before=$(cpu_ms "${server[metrics]}")
python3 "$work/scrape.py" "$port" 0.05 50
echo "CPU time of vhostd: $(($(cpu_ms "${server[metrics]}") - before)) ms for 50 more"
for pid in "${server[@]}"; do kill -STOP "$pid"; done

for ((round = 1; round <= rounds; round++)); do
  # The order changes, so that what drifts meets all.
  if ((round % 2)); then order="off unscraped every-15s every-1s"; else order="every-1s every-15s unscraped off"; fi
  for mode in $order; do
    rate=$(measure "$mode")
    echo "$rate" >> "$work/rates-$mode"
    echo "round $round, metrics $mode: $rate IOPS"
  done
done
python3 - "$work" <<'END'
import statistics, sys
modes = ("off", "unscraped", "every-15s", "every-1s")
rates = {mode: [int(line) for line in open(f"{sys.argv[1]}/rates-{mode}")] for mode in modes}
off = statistics.median(rates["off"])
for mode in modes:
    median = statistics.median(rates[mode])
    print(f"{mode:10} median {median:10.0f} IOPS, {(off - median) / off * 100:+.2f} % (spread {(max(rates[mode]) - min(rates[mode])) / median * 100:.1f} %)")
END
