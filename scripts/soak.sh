#!/usr/bin/env bash
# Runs verified guests, reconnects, hot-plugs, resizes, RPC and failing disks against the real vhostd, for as long as you like:
#   scripts/soak.sh SECONDS [SEED]
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n 's/^# \{0,1\}//p' "$0" | tail -n +2; exit 2; }
dotnet build tests/soak -c Release -v q -nologo
VHOST_SOAK_SECONDS=$1 VHOST_SOAK_SEED=${2:-$RANDOM} exec tests/soak/bin/Release/net10.0/Vhost.Soak.Tests -noColor -noLogo -showLiveOutput
