#!/usr/bin/env bash
# Measures vhostd beside qemu-storage-daemon with the same client, and beside bare loops, in one run, and judges every goal: one target CPU, one client
# CPU, the sides in turn, medians of the runs of one class of machine. Run it as root on an otherwise idle machine with two CPUs, after scripts/test.sh has
# built everything. It takes some five minutes.
#   bench/compare.sh [--rounds N] [--seconds S] [--only WORD...] [--markdown FILE] [--svg FILE]     see vhost-compare --help
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$(tests/setup/install.sh | tail -n 1)
exec bench/compare/bin/Release/net10.0/vhost-compare --vhostd "${VHOST_TEST_VHOSTD:-artifacts/vhostd}/vhostd" --peer "$tools/bin/qemu-storage-daemon" "$@"
