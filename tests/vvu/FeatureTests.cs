using Vhost.Abstractions;
using Vhost.Plugins.VvuTransport;
using Vhost.Testing.FrontEnd;
using Vhost.VhostUser;

namespace Vhost.Vvu.Tests;

/// <summary>What the link offers: each feature only where it is carried; zero copy only where it is safe.</summary>
public sealed class FeatureTests
{
    private const ProtocolFeatures Full = ProtocolFeatures.MultiQueue | ProtocolFeatures.LogSharedMemory | ProtocolFeatures.ReplyAck | ProtocolFeatures.BackendRequest
        | ProtocolFeatures.Config | ProtocolFeatures.InFlightSharedMemory | ProtocolFeatures.ResetDevice | ProtocolFeatures.ConfigureMemorySlots | ProtocolFeatures.Status;

    // RARP, net MTU, cross endianness, crypto sessions, page faults: known numbers that no enumeration here has a name for.
    private static readonly int[] Unnamed = [2, 4, 6, 7, 8, 17, 18, 19, 20];

    public static TheoryData<ProtocolFeatures> Features() =>
        [.. Enum.GetValues<ProtocolFeatures>().Where(feature => feature != 0), .. Unnamed.Select(bit => (ProtocolFeatures)(1UL << bit))];

    [Theory]
    [MemberData(nameof(Features))]
    public async Task A_protocol_feature_is_offered_where_the_link_carries_it_and_nowhere_else(ProtocolFeatures feature)
    {
        foreach (var isPublished in (bool[])[true, false])
        {
            await using var harness = await VvuHarness.StartAsync(isPublished: isPublished);
            using var connection = harness.ConnectRaw();
            connection.AskNumber(FrontEndRequest.GetFeatures);
            var offered = (ProtocolFeatures)connection.AskNumber(FrontEndRequest.GetProtocolFeatures);
            Assert.Equal(((isPublished ? ProtocolFeatures.MultiQueue : Full) & feature) != 0, (offered & feature) != 0);
        }
    }

    [Theory]
    [InlineData("capabilities", true, false)]
    [InlineData("fixed", true, false)]
    [InlineData("capabilities", false, true)]
    [InlineData("fixed", false, true)]
    public async Task Logging_is_offered_where_a_log_is_carried(string layout, bool isPublished, bool isOffered)
    {
        await using var harness = await VvuHarness.StartAsync(layout, isPublished: isPublished);
        using var connection = harness.ConnectRaw();
        Assert.Equal(isOffered, (connection.AskNumber(FrontEndRequest.GetFeatures) & VhostUserFeatures.LogAll) != 0);
    }

    [Theory]
    [InlineData("capabilities")]
    [InlineData("fixed")]
    public async Task Blk_without_device_configuration_is_refused_with_the_reason_and_the_remedy(string layout)
    {
        await using var harness = new VvuHarness(layout, isBlk: true, isPublished: true);
        var refusal = await Assert.ThrowsAnyAsync<IOException>(async () => await harness.Transport.StartAsync(harness.Device, CancellationToken.None));
        Assert.Contains("device configuration", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("use a controller of type scsi, or vvu-device", refusal.Message, StringComparison.Ordinal);
    }

    // In a VM on stock QEMU such a BAR is no RAM to emulated devices, and nothing tells whose it is: a device with the published contract may be vvu-device too.
    [Theory]
    [InlineData("0000:00:07.0", null, MemoryBackingKind.CopiedBar)]
    [InlineData("0000:00:07.0", true, MemoryBackingKind.DeviceBar)]
    [InlineData("0000:00:07.0", false, MemoryBackingKind.Unreachable)]
    [InlineData("/run/vvu.sock", null, MemoryBackingKind.DeviceBar)]
    [InlineData("/run/vvu.sock", false, MemoryBackingKind.Unreachable)]
    public void Devices_reach_the_memory_themselves_where_that_is_right_unless_the_user_decides(string address, bool? directDma, MemoryBackingKind expected) =>
        Assert.Equal(expected, VvuTransport.MemoryKind(new VvuTransportOptions { Address = address, DirectDma = directDma }));

    [Theory]
    [InlineData(true, MemoryBackingKind.DeviceBar)]
    [InlineData(null, MemoryBackingKind.DeviceBar)]
    [InlineData(false, MemoryBackingKind.Unreachable)]
    public async Task Memory_is_announced_as_reachable_or_not(bool? directDma, MemoryBackingKind expected)
    {
        await using var harness = new VvuHarness();
        ITransportFactory factory = new VvuTransportFactory();
        var transport = factory.Create(harness.Context, new VvuTransportOptions { Address = harness.VfioUserSocket, DirectDma = directDma });
        await transport.StartAsync(harness.Device, CancellationToken.None);
        await using (transport)
        {
            using var device = harness.Connect(isScsi: true);
            var requests = new VirtioScsiRequests(device, 1, 4096);
            Assert.True(requests.Execute(device.RequestQueue(0), 0, isWrite: true, 0, 4096), requests.DescribeResult(0));
            var backing = Assert.Single(harness.Registry.Regions).Backing;
            Assert.Equal(expected, backing.Kind);
            if (expected == MemoryBackingKind.DeviceBar)
            {
                Assert.Equal((harness.VfioUserSocket, 2), (backing.DeviceAddress, backing.BarIndex));
            }
        }
    }

    [Fact]
    public void A_line_that_made_loads_slow_is_told_of_once_and_fast_memory_never()
    {
        // The first interrupt comes before the other VM's memory is there; from the fourth on it is mapped no more.
        Queue<long> loads = new([0, 0, 120, 15_000, 15_000]);
        List<long> told = [];
        var watch = new SlowMemoryWatch(loads.Dequeue, told.Add);
        for (var i = 0; i < 100_000; i++)
        {
            watch.OnInterrupt();
        }

        Assert.Equal([15_000], told);
        var looks = 0;
        var fast = new SlowMemoryWatch(
            () =>
            {
                looks++;
                return 150;
            },
            _ => Assert.Fail("memory is fast"));
        for (var i = 0; i < 200_000; i++)
        {
            fast.OnInterrupt();
        }

        Assert.InRange(looks, 10, 20);
    }
}
