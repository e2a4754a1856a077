using System.Text.RegularExpressions;

namespace Vhost.VvuTopology.Tests;

/// <summary>The page says no command that nothing runs, unless it says so.</summary>
public sealed partial class GuideTests
{
    /// <summary>What the tests of this project take from the page.</summary>
    private static readonly string[] Used =
    [
        "vvu-device", "images", "appliance", "bind", "manifest", "vhostd", "compute", "lsscsi", "copied", "appliance-without-iommu", "bind-without-iommu", "socket-line",
    ];

    [Fact]
    public void Every_marked_block_is_run_by_a_test()
    {
        Assert.Equal(Used.Order(), Guide.Blocks().Select(b => b.Name).Where(n => n.Length > 0).Order());
        Assert.Contains("virtio-vhost-user-pci", Assert.Single(Guide.Blocks(), b => b.Name.Length == 0).Content, StringComparison.Ordinal);
    }

    [Fact]
    public void No_command_of_the_topology_is_without_a_mark()
    {
        // The publishing and the appliance by itself belong to other tests.
        string topology = Guide.Text[Guide.Text.IndexOf("## 2.", StringComparison.Ordinal)..Guide.Text.IndexOf("## The appliance by itself", StringComparison.Ordinal)];
        Assert.Equal(Fence().Count(topology), MarkedFence().Count(topology));
    }

    [GeneratedRegex("^```(sh|json)$", RegexOptions.Multiline)]
    private static partial Regex Fence();

    [GeneratedRegex("^<!-- (run: [a-z-]+|not run) -->\n```(sh|json)$", RegexOptions.Multiline)]
    private static partial Regex MarkedFence();
}
