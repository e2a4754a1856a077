#!/usr/bin/env bash
# Runs on this machine, by user-mode emulation, what lib/linux has for arm64: its SIGBUS handler as bytes within a C program, and the library's own
# tests of it within an arm64 .NET runtime. Half a minute. Needs the SDK and, from Debian: qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross
set -euo pipefail
cd "$(dirname "$0")/.."
for program in qemu-aarch64 aarch64-linux-gnu-gcc dotnet; do
  command -v "$program" >/dev/null || { echo "arm64.sh: $program is missing; see the head of this script" >&2; exit 2; }
done
root=$PWD; work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cp -r lib/linux "$work/source"; rm -rf "$work/source/bin" "$work/source/obj"
cp Directory.Build.props Directory.Packages.props global.json "$work/"

# The tests run without their framework, which wants libraries that no cross package has.
mkdir "$work/run"
cat > "$work/run/run.csproj" <<E
<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <OutputType>Exe</OutputType>
    <AssemblyName>Vhost.Linux.Tests</AssemblyName>
    <InvariantGlobalization>true</InvariantGlobalization>
    <NoWarn>\$(NoWarn);CS1591;CA1050;CA1707;IDE0130;IDE0161</NoWarn>
  </PropertyGroup>
  <ItemGroup>
    <Compile Include="$root/tests/linux/MemoryFaultTests.cs" />
    <ProjectReference Include="../source/Vhost.Linux.csproj" />
  </ItemGroup>
</Project>
E
cat > "$work/run/Program.cs" <<'E'
global using Xunit;
using System.Reflection;
using Vhost.Linux;
using Vhost.Linux.Tests;

if (args.Length > 0)
{
    File.WriteAllBytes(args[0], MemoryFaultCode.Bytes);
    Console.WriteLine(MemoryFaultCode.DefaultActionOffset);
    return;
}

foreach (var test in typeof(MemoryFaultTests).GetMethods().Where(method => method.IsDefined(typeof(FactAttribute))))
{
    test.Invoke(new MemoryFaultTests(), null);
    Console.WriteLine($"{System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture}: {test.Name}");
}

namespace Xunit
{
    [AttributeUsage(AttributeTargets.Method)]
    public sealed class FactAttribute : Attribute;

    public static class Assert
    {
        public static void True(bool condition, string? message = null) => _ = condition ? true : throw new InvalidOperationException("not true " + message);

        public static void False(bool condition) => True(!condition);

        public static void Equal<T>(T expected, T actual) => True(EqualityComparer<T>.Default.Equals(expected, actual), $"{expected} == {actual}");

        public static void Throws<T>(Func<object?> action)
            where T : Exception
        {
            try
            {
                action();
            }
            catch (T)
            {
                return;
            }

            throw new InvalidOperationException($"no {typeof(T).Name}");
        }
    }
}
E
dotnet publish "$work/run" -c Release -r linux-arm64 --self-contained -o "$work/out" -v q -nologo
emulate() { timeout 120 qemu-aarch64 -L /usr/aarch64-linux-gnu "$@"; }
default_action=$(emulate "$work/out/Vhost.Linux.Tests" "$work/code")
aarch64-linux-gnu-gcc -O1 -Wall -Werror -static -o "$work/handler" tests/linux/sigbus-handler.c
# The emulator tells of the signal that one of its children is to die of.
emulate "$work/handler" "$work/code" "$default_action"
emulate "$work/out/Vhost.Linux.Tests"
