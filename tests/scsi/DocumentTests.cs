using System.Globalization;
using Vhost.Abstractions;
using Vhost.Scsi.Conformance;

namespace Vhost.Scsi.Tests;

/// <summary>The table of commands in the manual is what the disk lists.</summary>
public sealed class DocumentTests
{
    [Fact]
    public void The_manual_lists_the_commands_that_there_are()
    {
        var directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "Plugins.sln")))
        {
            directory = Path.GetDirectoryName(directory.TrimEnd('/')) ?? throw new InvalidOperationException("no Plugins.sln above the tests");
        }

        var rows = File.ReadAllLines(Path.Combine(directory, "docs", "scsi.md"))
            .Select(line => line.Split('|', StringSplitOptions.TrimEntries))
            .Where(cells => cells.Length == 6 && cells[1].Length == 2 && byte.TryParse(cells[1], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out _))
            .Select(cells => (
                byte.Parse(cells[1], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture),
                cells[2] == "-" ? -1 : int.Parse(cells[2], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture)))
            .ToArray();
        using var disk = new Disk();
        disk.Port.Change(disk.Port.Info! with { AtomicWriteBlocks = 1 }, BdevChange.Warned);
        var facts = DiskFacts.Ask(new InProcessPort(disk.Initiator));
        Assert.Equal(facts.Operations.Order(), rows.Order());
    }
}
