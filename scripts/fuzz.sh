#!/usr/bin/env bash
# Fuzzes one target for as long as you like:
#   scripts/fuzz.sh TARGET SECONDS [SEED]     TARGET: a part of a name, such as blk-split, scsi, vhost-user, vvu, manifest, rpc
# A failing input is kept in a file; copied to tests/fuzz/corpus/TARGET/ it is run by every test run.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { sed -n 's/^# \{0,1\}//p' "$0" | tail -n +2; exit 2; }
dotnet build tests/fuzz -c Release -v q -nologo
VHOST_FUZZ_TARGET=$1 VHOST_FUZZ_SECONDS=$2 VHOST_FUZZ_SEED=${3:-$RANDOM} exec tests/fuzz/bin/Release/net10.0/Vhost.Fuzz.Tests -noColor -noLogo -showLiveOutput
