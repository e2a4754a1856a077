using System.Globalization;
using Vhost.Abstractions;
using Vhost.Fuzz.Tests.Targets;
using Vhost.VvuDevice;

namespace Vhost.Fuzz.Tests;

/// <summary>
/// Every target runs its corpus and then, from a seed that is always the same, for some seconds. <c>VHOST_FUZZ_SECONDS</c> and
/// <c>VHOST_FUZZ_SEED</c> change both; <c>scripts/fuzz.sh</c>
/// searches from others, one target for hours.
/// </summary>
public sealed class FuzzTests
{
    private static readonly Dictionary<string, Func<IFuzzTarget>> Targets = new(StringComparer.Ordinal)
    {
        ["blk-split"] = static () => new BlkTarget(VirtqueueFormat.Split),
        ["blk-packed"] = static () => new BlkTarget(VirtqueueFormat.Packed),
        ["scsi-split"] = static () => new ScsiTarget(VirtqueueFormat.Split),
        ["scsi-packed"] = static () => new ScsiTarget(VirtqueueFormat.Packed),
        ["vhost-user"] = static () => new VhostUserTarget(),
        ["vvu-capabilities"] = static () => new VvuTarget(DeviceLayout.Capabilities),
        ["vvu-fixed"] = static () => new VvuTarget(DeviceLayout.Fixed),
        ["manifest"] = static () => new ManifestTarget(),
        ["rpc"] = static () => new RpcTarget(),
    };

    public static TheoryData<string> Names =>
        [.. Targets.Keys.Where(name => name.Contains(Environment.GetEnvironmentVariable("VHOST_FUZZ_TARGET") ?? "", StringComparison.Ordinal))];

    [Theory]
    [MemberData(nameof(Names))]
    public void Whatever_comes_is_refused_or_served_and_nothing_is_left_behind(string target)
    {
        var seconds = double.Parse(Environment.GetEnvironmentVariable("VHOST_FUZZ_SECONDS") ?? "6", CultureInfo.InvariantCulture);
        var seed = int.Parse(Environment.GetEnvironmentVariable("VHOST_FUZZ_SEED") ?? "1", CultureInfo.InvariantCulture);
        Console.WriteLine($"{target}: seed {seed}");
        var (inputs, outcomes) = new Fuzzer(target, Targets[target]).Run(seconds, seed);
        Console.WriteLine($"{target}: {inputs} inputs, {outcomes} different outcomes, seed {seed}");
        // Inputs that all come to the same reach nothing.
        Assert.True(outcomes > 3, $"{inputs} inputs had only {outcomes} different outcomes");
    }
}
