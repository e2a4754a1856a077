#!/usr/bin/env bash
# Publishes what an appliance runs, with its own .NET runtime: publish.sh DIRECTORY. Afterwards DIRECTORY has vhostd/ and client/.
# All code is compiled ahead of time, the plugins' too: on an emulated CPU compiling takes longer than the tests themselves.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here/../..
[ $# = 1 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
# Nothing of a plugin that is gone from the sources may stay.
rm -rf "$out/vhostd" "$out/client"
for project in host:vhostd tests/appliance-client:client; do
  dotnet publish "$root/${project%:*}" -c Release -r linux-x64 --self-contained -p:PublishReadyToRun=true -o "$out/${project#*:}" -v q -nologo
done

# "dotnet publish" compiles the host's own closure only. Its compiler is a package, there since the line above.
packages=$(dotnet nuget locals global-packages --list | sed 's/^[^/]*//')
compiler=$(find "$packages/microsoft.netcore.app.crossgen2.linux-x64" -path '*/tools/*' \( -name crossgen2 -o -name crossgen2.dll \) -type f | sort -V | tail -1)
[ -n "$compiler" ] || { echo "publish.sh: no crossgen2 in $packages" >&2; exit 1; }
case $compiler in
  *.dll) run=(dotnet "$compiler") ;;
  *) run=("$compiler") ;;
esac
for file in "$out"/vhostd/plugins/*/*.dll; do
  "${run[@]}" "$file" -r "$out/vhostd/*.dll" -r "${file%/*}/*.dll" -o "$file.r2r" --targetos linux --targetarch x64 -O >/dev/null
  mv "$file.r2r" "$file"
done
