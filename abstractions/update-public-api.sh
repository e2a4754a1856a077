#!/usr/bin/env bash
# Rewrites PublicAPI.Unshipped.txt of a project from what the PublicApiAnalyzers find. Review the difference before you commit it:
# a line that vanishes is a promise broken.  Usage: update-public-api.sh [PROJECT_DIRECTORY]
set -euo pipefail
cd "${1:-$(dirname "$0")}"
printf '#nullable enable\n' > PublicAPI.Unshipped.txt
dotnet build -v q -nologo -p:TreatWarningsAsErrors=false -t:Rebuild 2>&1 \
  | sed -n "s/.*warning RS0016: Symbol '\(.*\)' is not part of the declared public API.*/\1/p" | LC_ALL=C sort -u >> PublicAPI.Unshipped.txt
wc -l PublicAPI.Unshipped.txt
