#!/usr/bin/env bash
# Runs every test on a fresh machine (Debian or Ubuntu with the .NET SDK, as root): installs what is missing, builds, publishes, runs
# the test projects group by group, and ends with the total.
#   scripts/test.sh [GROUP|PROJECT]...   a part of the name of a group or test project; by default all of them
set -uo pipefail
cd "$(dirname "$0")/.."
export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1
project_timeout_s=${VHOST_TEST_TIMEOUT_S:-1200}
logs=artifacts/test-logs
started=$SECONDS
rm -rf "$logs"; mkdir -p "$logs"

fail() { echo "test.sh: $*" >&2; echo "0 passed, 1 failed"; exit 1; }

[ -x tests/setup/install.sh ] && { tests/setup/install.sh || fail "the test set-up failed; see above"; }
echo "== building"
dotnet build Plugins.sln -c Release -v q -nologo || fail "the build failed; see above"
dotnet publish host -c Release -o artifacts/vhostd -v q -nologo || fail "publishing vhostd failed; see above"
dotnet publish vvu-device -c Release -o artifacts/vvu-device -v q -nologo || fail "publishing vvu-device failed; see above"
export VHOST_TEST_VHOSTD="$PWD/artifacts/vhostd" VHOST_TEST_VVU_DEVICE="$PWD/artifacts/vvu-device"
echo "== built in $((SECONDS - started)) s"

# A test project names its group: <TestGroup>; without one it belongs to the main job.
group_of() { sed -n 's/.*<TestGroup>\(.*\)<\/TestGroup>.*/\1/p' "$1" | tail -n 1 | grep . || echo "Main job"; }

passed=0; failed=0; skipped=0
declare -A group_seconds
mapfile -t projects < <(git ls-files 'tests/*.Tests.csproj' | sort)
[ ${#projects[@]} -gt 0 ] || fail "no test project was found"
for project in "${projects[@]}"; do
  name=$(basename "$project" .csproj); group=$(group_of "$project")
  if [ $# -gt 0 ]; then
    wanted=; for word in "$@"; do case "$group $name" in *"$word"*) wanted=1 ;; esac; done
    [ -n "$wanted" ] || continue
  fi
  program=$(dirname "$project")/bin/Release/net10.0/$name
  from=$SECONDS
  timeout --kill-after=20 "$project_timeout_s" "$program" -noColor -noLogo -longRunning 120 > "$logs/$name.log" 2>&1 < /dev/null
  code=$?
  took=$((SECONDS - from)); group_seconds[$group]=$((${group_seconds[$group]:-0} + took))
  summary=$(grep -E "^ *$name +Total: " "$logs/$name.log" | tail -n 1)
  count() { sed -n "s/.*$1: \([0-9]*\).*/\1/p" <<< "$summary"; }
  if [ -z "$summary" ]; then
    tail -n 60 "$logs/$name.log"; echo "-- $name ended without a summary (exit code $code)"; failed=$((failed + 1)); continue
  fi
  total=$(count Total); bad=$(( $(count Failed) + $(count Errors) )); skip=$(( $(count Skipped) + $(count 'Not Run') ))
  # A runner that fails although no test did (a crash at exit, a time-out) is a failure too.
  [ "$bad" -eq 0 ] && [ "$code" -ne 0 ] && bad=1
  [ "$total" -eq 0 ] && { echo "-- $name ran no test"; bad=1; }
  [ "$bad" -gt 0 ] && grep -vE '^ *(Discover|Starting:|Finished:)' "$logs/$name.log" | tail -n 150
  good=$((total - skip - bad)); [ "$good" -lt 0 ] && good=0
  passed=$((passed + good)); failed=$((failed + bad)); skipped=$((skipped + skip))
  printf -- '-- %-9s %-34s %5d passed %3d failed %3d skipped  %4d s\n' "$group" "$name" "$good" "$bad" "$skip" "$took"
done
for group in "${!group_seconds[@]}"; do printf '== %-10s %5d s\n' "$group" "${group_seconds[$group]}"; done | sort
echo "== everything $((SECONDS - started)) s"
if [ "$skipped" -gt 0 ]; then echo "$passed passed, $failed failed, $skipped skipped"; else echo "$passed passed, $failed failed"; fi
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
