using System.Buffers.Binary;
using Vhost.Testing.FrontEnd;
using Vhost.VhostUser;

namespace Vhost.Vvu.Tests;

/// <summary>The other VM's memory: tables that change under load, several views of the file, memory that has no place.</summary>
public sealed class MemoryTests
{
    private const int BlockBytes = 4096;
    private const ulong FileBytes = 16 << 20;
    private const ulong Half = FileBytes / 2;

    [Theory]
    [InlineData("capabilities", false)]
    [InlineData("capabilities", true)]
    [InlineData("fixed", false)]
    [InlineData("fixed", true)]
    public async Task Memory_tables_change_while_rings_run(string layout, bool isPublished)
    {
        await using var harness = await VvuHarness.StartAsync(layout, isBlk: !isPublished, isPublished: isPublished);
        using var device = harness.Connect(isScsi: isPublished);
        BlockRequests requests = isPublished ? new VirtioScsiRequests(device, 2, BlockBytes) : new VirtioBlkRequests(device, 2, BlockBytes);
        using var load = new Load(device, requests);
        var whole = harness.Memory.Regions[0].Description;

        // Further views of the same file, before and behind, in any order: the driver's arithmetic wraps in some of them.
        var upper = new RegionDescription(1UL << 32, Half, 0x7f00_0000_0000, Half);
        var lower = new RegionDescription(1UL << 33, Half, 0x7e00_0000_0000, 0);
        RegionDescription[][] tables = [[whole], [whole, upper], [upper, whole], [lower, upper, whole], [upper, lower, whole], [whole, lower]];
        for (var round = 0; round < 5; round++)
        {
            foreach (var table in tables)
            {
                var before = load.Completed;
                device.Connection.Tell(FrontEndRequest.SetMemoryTable, Table(table), [.. table.Select(_ => harness.Memory.Regions[0].File.Raw)]);
                await VvuHarness.WaitForAsync(() => load.Completed > before + 5 || load.Failure is not null, "requests to go on");
            }
        }

        load.Stop();
        Assert.True(!harness.Logger.Errors.Any(), harness.AllLines());
    }

    [Fact]
    public async Task Each_view_of_the_file_reaches_its_part()
    {
        await using var harness = await VvuHarness.StartAsync(isBlk: true);
        using var device = harness.Connect(isScsi: false);
        var file = harness.Memory.Regions[0];
        var buffer = file.Allocate((int)(Half + (1 << 20)), 4096);
        var data = buffer.Slice((int)Half, BlockBytes);
        var offset = data.GuestAddress - file.Description.GuestAddress;
        var view = new RegionDescription(1UL << 32, FileBytes - Half, 0x7f00_0000_0000, Half);
        RegionDescription[] table = [view, file.Description];
        device.Connection.Tell(FrontEndRequest.SetMemoryTable, Table(table), file.File.Raw, file.File.Raw);
        Transfer(device, data with { GuestAddress = view.GuestAddress + (offset - Half) }, harness, 0x41);

        // The same by slots: one comes, is used, and goes.
        device.Connection.Tell(FrontEndRequest.SetMemoryTable, Table([file.Description]), file.File.Raw);
        var slot = new RegionDescription(1UL << 34, Half, 0x7d00_0000_0000, Half);
        device.Connection.Tell(FrontEndRequest.AddMemoryRegion, Slot(slot), file.File.Raw);
        Transfer(device, data with { GuestAddress = slot.GuestAddress + (offset - Half) }, harness, 0x42);
        device.Connection.Tell(FrontEndRequest.RemoveMemoryRegion, Slot(slot));
        Transfer(device, data, harness, 0x43);
        Assert.True(!harness.Logger.Errors.Any(), harness.AllLines());
    }

    [Fact]
    public async Task Regions_that_share_a_large_page_are_all_reached()
    {
        // As below and above 4 GiB in a PC: the second region begins within the last 2 MiB of the first.
        const ulong Split = (3 << 20) + 4096;
        await using var harness = await VvuHarness.StartAsync(isBlk: true);
        using var device = harness.Connect(isScsi: false);
        var file = harness.Memory.Regions[0];

        // Far behind what the queue and its requests take.
        const int Offset = 8 << 20;
        var data = new GuestBuffer(file.Description.GuestAddress + Offset, file.Description.UserAddress + Offset, file.HostAddress + Offset, BlockBytes);
        var lower = file.Description with { LengthBytes = Split };
        var upper = new RegionDescription(1UL << 32, FileBytes - Split, 0x7f00_0000_0000, Split);
        device.Connection.Tell(FrontEndRequest.SetMemoryTable, Table([lower, upper]), file.File.Raw, file.File.Raw);
        Assert.Equal(2, harness.Registry.RegisteredCount);
        Transfer(device, data with { GuestAddress = upper.GuestAddress + (Offset - Split) }, harness, 0x51);
        Assert.True(!harness.Logger.Errors.Any(), harness.AllLines());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Memory_outside_of_the_file_is_refused_by_a_driver_that_cannot_map_it_and_the_reason_is_logged(bool isPublished)
    {
        await using var harness = await VvuHarness.StartAsync(isPublished: isPublished, hasFile: false);
        using (var connection = harness.ConnectRaw())
        {
            connection.AskNumber(FrontEndRequest.GetFeatures);
            connection.Send(FrontEndRequest.SetMemoryTable, Table([harness.Memory.Regions[0].Description]), harness.Memory.Regions[0].File.Raw);
            connection.WaitClosed();
        }

        await VvuHarness.WaitForAsync(() => harness.Logger.Errors.Any(line => line.Contains("--memory", StringComparison.Ordinal)), "the reason");
        Assert.Contains(harness.DeviceLines, line => line.Contains("16 MiB", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Memory_that_does_not_fit_the_bar_is_refused_with_the_reason()
    {
        await using var harness = await VvuHarness.StartAsync();
        using (var huge = Linux.MemoryFile.Create("huge", 63UL << 30))
        using (var connection = harness.ConnectRaw())
        {
            connection.AskNumber(FrontEndRequest.GetFeatures);
            connection.Send(FrontEndRequest.SetMemoryTable, Table([new RegionDescription(0, 63UL << 30, 1UL << 40, 0)]), huge.Raw);
            connection.WaitClosed();
        }

        Assert.Contains(harness.DeviceLines, line => line.Contains("does not fit the BAR", StringComparison.Ordinal));
        using var next = harness.Connect(isScsi: true);
        Assert.Equal(16384u, new VirtioScsiRequests(next, 1, BlockBytes).BlockCount);
    }

    internal static byte[] Table(ReadOnlySpan<RegionDescription> regions)
    {
        var payload = new byte[RegionDescription.PrefixBytes + (regions.Length * RegionDescription.WireBytes)];
        BinaryPrimitives.WriteUInt32LittleEndian(payload, (uint)regions.Length);
        for (var i = 0; i < regions.Length; i++)
        {
            regions[i].Write(payload.AsSpan(RegionDescription.PrefixBytes + (i * RegionDescription.WireBytes)));
        }

        return payload;
    }

    private static byte[] Slot(RegionDescription region) => [.. new byte[8], .. Table([region]).AsSpan(8)];

    private static void Transfer(FrontEndDevice device, GuestBuffer data, VvuHarness harness, byte pattern)
    {
        var control = harness.Memory.Allocate(32, 16);
        var queue = device.RequestQueue(0);
        control.Span.Clear();
        control.Span[0] = (byte)VirtioBlkRequests.Out;
        control.Span[8] = 8;
        data.Span.Fill(pattern);
        Assert.True(queue.Ring.TryAdd([new(control.GuestAddress, 16), new(data.GuestAddress, BlockBytes)], [new(control.GuestAddress + 16, 1)], 9));
        Assert.Equal(9, BlockRequests.Complete(queue));
        Assert.Equal(0, control.Span[16]);
        Assert.Equal(-1, harness.Port.Data.Slice(8 * 512, BlockBytes).IndexOfAnyExcept(pattern));

        // And back.
        control.Span[0] = (byte)VirtioBlkRequests.In;
        data.Span.Clear();
        Assert.True(queue.Ring.TryAdd([new(control.GuestAddress, 16)], [new(data.GuestAddress, BlockBytes), new(control.GuestAddress + 16, 1)], 10));
        Assert.Equal(10, BlockRequests.Complete(queue));
        Assert.Equal(-1, data.Span.IndexOfAnyExcept(pattern));
    }

    /// <summary>Writes and reads back on a thread of its own.</summary>
    private sealed class Load : IDisposable
    {
        private readonly Thread _thread;
        private volatile bool _stop;
        private long _completed;

        public Load(FrontEndDevice device, BlockRequests requests)
        {
            var queue = device.RequestQueue(0);
            _thread = new Thread(() =>
            {
                try
                {
                    for (var i = 0; !_stop; i++)
                    {
                        requests.Data(0).Span.Fill((byte)i);
                        Assert.True(requests.Execute(queue, 0, isWrite: true, (ulong)(i % 100 * 8), BlockBytes), requests.DescribeResult(0));
                        requests.Data(1).Span.Clear();
                        Assert.True(requests.Execute(queue, 1, isWrite: false, (ulong)(i % 100 * 8), BlockBytes), requests.DescribeResult(1));
                        Assert.Equal(-1, requests.Data(1).Span.IndexOfAnyExcept((byte)i));
                        Interlocked.Increment(ref _completed);
                    }
                }
                catch (Exception exception)
                {
                    Failure = exception;
                }
            });
            _thread.Start();
        }

        public long Completed => Interlocked.Read(ref _completed);

        public Exception? Failure { get; private set; }

        public void Stop()
        {
            _stop = true;
            _thread.Join();
            Assert.Null(Failure);
        }

        public void Dispose()
        {
            _stop = true;
            _thread.Join();
        }
    }
}
