using System.Diagnostics;
using Vhost.Testing;
using Vhost.Virtio;

namespace Vhost.VhostScsi.Tests;

public sealed class AllocationTests
{
    private const int Requests = 1_000_000;
    private const int Depth = 32;

    [Fact]
    public void A_million_reads_allocate_nothing()
    {
        using var disk = new MemoryBdevPort { IsNull = true };
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }).Settle(0);
        var header = guest.Ram.Allocate(ScsiGuest.HeaderLength, 64);
        BitConverter.TryWriteBytes(guest.Ram.Span(header, 8), ScsiGuest.Lun(0));
        Convert.FromHexString("28000000000100000800").CopyTo(guest.Ram.Span(header + 19, 10));
        var response = guest.Ram.Allocate(ScsiGuest.ResponseLength, 64);
        var data = guest.Ram.Allocate(4096);
        var reactor = guest.Reactors[0];
        var driver = guest.Queues[2].Driver;

        void Run(int count)
        {
            ReadOnlySpan<DriverSegment> readable = [new(header, ScsiGuest.HeaderLength)];
            ReadOnlySpan<DriverSegment> writable = [new(response, ScsiGuest.ResponseLength), new(data, 4096)];
            var sent = 0;
            for (var done = 0; done < count;)
            {
                while (driver.UnderWayCount < Depth / 2 && sent < count && driver.TryAdd(readable, writable, 1))
                {
                    sent++;
                }

                driver.Publish();
                reactor.Turn();
                while (driver.TryGetUsed(out _, out var written))
                {
                    done++;
                    if (written != ScsiGuest.ResponseLength + 4096)
                    {
                        Assert.Fail($"{written} bytes were written");
                    }
                }
            }
        }

        Run(50_000);
        var elapsed = TimeSpan.Zero;
        var allocated = Allocations.LeastOfRounds(() =>
        {
            var begin = Stopwatch.GetTimestamp();
            Run(Requests);
            elapsed = Stopwatch.GetElapsedTime(begin);
        });
        TestContext.Current.TestOutputHelper?.WriteLine($"{allocated} bytes; {Requests / elapsed.TotalSeconds / 1000:F0} k requests/s with the driver on the same thread");
        Assert.Equal(0, disk.Counts[1]);
        Assert.True(disk.Counts[0] >= Requests);
        Assert.Equal(0, allocated);
    }
}
