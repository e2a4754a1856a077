#!/usr/bin/env bash
# The main job on a fresh machine (Debian or Ubuntu with the .NET SDK, as root): builds vhostd, serves samples/malloc.json, boots an
# unmodified Linux guest on it under QEMU, and ends with the guest's own lsscsi.
set -euo pipefail
cd "$(dirname "$0")/.."
export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1
tests/setup/install.sh
echo "== building vhostd"
dotnet publish host -c Release -o artifacts/vhostd -v q -nologo
exec tests/e2e/run-main-job.sh artifacts/vhostd samples/malloc.json
