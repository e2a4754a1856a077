using System.Globalization;
using Vhost.Abstractions;
using Vhost.Testing;

namespace Vhost.VhostBlk.Tests;

/// <summary>The table of features in the manual is what the device offers.</summary>
public sealed class DocumentTests
{
    // The ring's features begin here (virtio 1.3, section 6).
    private const ulong DeviceFeatures = (1UL << 24) - 1;

    [Fact]
    public void The_manual_lists_the_features_that_are_offered_and_their_tests()
    {
        var directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "Plugins.sln")))
        {
            directory = Path.GetDirectoryName(directory.TrimEnd('/')) ?? throw new InvalidOperationException("no Plugins.sln above the tests");
        }

        var documented = 0UL;
        foreach (var line in File.ReadAllLines(Path.Combine(directory, "docs", "blk.md")))
        {
            var cells = line.Split('|', StringSplitOptions.TrimEntries);
            if (cells.Length == 6 && int.TryParse(cells[1], NumberStyles.None, CultureInfo.InvariantCulture, out var bit))
            {
                documented |= 1UL << bit;
                Assert.Contains(typeof(DocumentTests).Assembly.GetTypes(), type => type.Name == cells[4]);
            }
        }

        using var port = new MemoryBdevPort();
        port.Change(port.Info! with { ZeroingErases = true, LifeUsedPercent = 1 }, BdevChange.Changed);
        using var writable = new BlkBench(port);
        using var readOnly = new BlkBench(port, new() { Bdev = port.Name, ReadOnly = true });
        Assert.Equal((writable.Device.OfferedFeatures | readOnly.Device.OfferedFeatures) & DeviceFeatures, documented);
    }
}
