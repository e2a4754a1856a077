using Vhost.Abstractions;
using Vhost.Bench;
using Vhost.Testing.FrontEnd;

namespace Vhost.Speed.Tests;

/// <summary>The first requests of the first guest: how much code they meet that nobody has compiled yet, counted by the runtime on the reactor's thread.</summary>
public sealed class ColdCodeTests
{
    private const int FirstRequests = 500;

    // What is left belongs to the bdev's plugin and to the reactor's way into sleep.
    private const int MaxCompiledMethods = 60;

    [Theory]
    [InlineData("blk", VirtqueueFormat.Split)]
    [InlineData("blk", VirtqueueFormat.Packed)]
    [InlineData("scsi", VirtqueueFormat.Split)]
    public void The_first_requests_meet_next_to_no_cold_code(string device, VirtqueueFormat format)
    {
        using var directory = new TemporaryDirectory();
        var manifest = new VhostdManifest { CpuMask = "0x1" }.Malloc("disk", 16);
        _ = device == "scsi" ? manifest.Scsi("c", "disk") : manifest.Blk("c", "disk");
        using var vhostd = VhostdServer.Start(PublishedParts.Vhostd, directory.Path, manifest);
        using var memory = new GuestMemory(0, 8 << 20);
        using var guest = FrontEndDevice.Connect(vhostd.Socket("c"), memory, new FrontEndOptions
        {
            Format = format,
            FirstRequestQueue = device == "scsi" ? VirtioScsiRequests.FirstRequestQueue : 0,
        });
        var before = Read(vhostd);
        BlockRequests requests = device == "scsi" ? new VirtioScsiRequests(guest, 1, 4096) : new VirtioBlkRequests(guest, 1, 4096);
        for (var i = 0; i < FirstRequests; i++)
        {
            Assert.True(requests.Execute(guest.RequestQueue(0), 0, isWrite: (i & 1) != 0, (ulong)i * 8, 4096));
        }

        var after = Read(vhostd);
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{device} {format}: {after.CompiledMethods - before.CompiledMethods} methods compiled on the reactor during the first {FirstRequests} requests, {before.CompiledMethods} before them");
        Assert.True(before.CompiledMethods > 0);
        Assert.InRange(after.CompiledMethods - before.CompiledMethods, 0, MaxCompiledMethods);
    }

    /// <summary>Reads the figures of a reactor that has gone to sleep, which is when it notes them.</summary>
    private static ProcessFigures Read(VhostdServer vhostd)
    {
        var figures = ProcessFigures.Of(vhostd.GetStatus());
        for (var same = 0; same < 3;)
        {
            Thread.Sleep(50);
            var next = ProcessFigures.Of(vhostd.GetStatus());
            same = next.CompiledMethods == figures.CompiledMethods ? same + 1 : 0;
            figures = next;
        }

        return figures;
    }
}
