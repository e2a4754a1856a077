#!/usr/bin/env bash
# Serves a manifest with a published vhostd, boots a Linux guest on every vhost-user controller of it, prints what the guest says of
# its disks, and stops vhostd.
#   run-main-job.sh VHOSTD_DIRECTORY MANIFEST [-q bookworm|trixie] [-c COMMAND]
# The sockets go to a fresh directory instead of where the manifest puts them. The options are those of show-disks.sh. Exit code 0 only
# if the guest's command and vhostd both ended well.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -ge 2 ] || { sed -n '2,6s/^# //p' "$0" >&2; exit 2; }
vhostd=$1/vhostd
manifest=$2
shift 2

environment=$("$here/../setup/install.sh")
work=$(mktemp -d)
served=
: >"$work/out"
# shellcheck disable=SC2317  # called by the trap
end() {
  [ -z "$served" ] || kill -KILL "$served" 2>/dev/null || true
  rm -rf "$work"
}
trap end EXIT

arguments=(run "$manifest")
disks=()
# shellcheck disable=SC2016  # the variables are jq's
query='.transports as $transports | .controllers[] | select($transports[.transport].type == "vhost-user") | "\(.type) \(.transport)"'
while read -r type transport; do
  arguments+=(--set "transports.$transport.socket=$work/$transport")
  disks+=("$type:$work/$transport")
done < <("$environment/bin/jq" -r "$query" "$manifest")
[ ${#disks[@]} -gt 0 ] || { echo "run-main-job.sh: $manifest has no vhost-user controller" >&2; exit 2; }

# Variables that vhostd would take for overrides of its manifest stay here.
mapfile -t own < <(compgen -e VHOSTD_ || true)
[ ${#own[@]} -eq 0 ] || unset "${own[@]}"

echo "== vhostd ${arguments[*]}"
"$vhostd" "${arguments[@]}" >"$work/out" 2>"$work/err" </dev/null &
served=$!
log() { cat "$work/out" "$work/err"; }
for ((i = 0; i < 200; i++)); do
  ! grep -q '^vhostd is ready' "$work/out" || break
  kill -0 "$served" 2>/dev/null || { log >&2; echo "run-main-job.sh: vhostd ended instead of serving" >&2; exit 1; }
  sleep 0.1
done
grep '^vhostd is ready' "$work/out" || { log >&2; echo "run-main-job.sh: vhostd was not ready within 20 s" >&2; exit 1; }

echo "== a Linux guest on ${#disks[@]} controller(s)"
code=0
"$here/show-disks.sh" "$@" "${disks[@]}" || code=$?

kill -TERM "$served"
stopped=0
wait "$served" || stopped=$?
served=
: >"$work/out"
if [ "$stopped" != 0 ]; then
  log >&2
  echo "run-main-job.sh: vhostd stopped with exit code $stopped" >&2
  exit 1
fi
[ "$code" = 0 ] || log >&2
exit "$code"
