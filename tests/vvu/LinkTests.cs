using Vhost.Testing.FrontEnd;
using Vhost.VhostUser;

namespace Vhost.Vvu.Tests;

/// <summary>Requests of the other VM, served through the whole link.</summary>
public sealed class LinkTests
{
    private const int BlockBytes = 4096;
    private const int Sectors = BlockBytes / 512;

    [Theory]
    [InlineData("capabilities", false, false)]
    [InlineData("capabilities", false, true)]
    [InlineData("capabilities", true, false)]
    [InlineData("fixed", false, false)]
    [InlineData("fixed", false, true)]
    [InlineData("fixed", true, false)]
    public async Task What_is_written_is_read_back(string layout, bool isBlk, bool isPublished)
    {
        await using var harness = await VvuHarness.StartAsync(layout, isBlk, isPublished);
        using var device = harness.Connect(!isBlk, queueCount: isBlk ? 1 : 2);
        Assert.Equal(!isPublished, (device.Connection.ProtocolFeatures & ProtocolFeatures.ReplyAck) != 0);
        BlockRequests requests = isBlk ? new VirtioBlkRequests(device, 4, BlockBytes) : new VirtioScsiRequests(device, 4, BlockBytes);
        Assert.Equal(16384u, requests.BlockCount);
        for (var i = 0; i < 200; i++)
        {
            Verify(device, requests, i);
        }

        device.Stop();
        Assert.True(!harness.Logger.Errors.Any(), harness.AllLines());
    }

    [Theory]
    [InlineData("capabilities", false)]
    [InlineData("capabilities", true)]
    [InlineData("fixed", false)]
    public async Task A_sleeping_driver_is_interrupted(string layout, bool isPublished)
    {
        await using var harness = await VvuHarness.StartAsync(layout, isPublished: isPublished);
        using var device = harness.Connect(isScsi: true);
        var requests = new VirtioScsiRequests(device, 1, BlockBytes);
        var queue = device.RequestQueue(0);
        for (var i = 0; i < 100; i++)
        {
            Assert.True(requests.TryAdd(queue.Ring, 0, isWrite: false, (ulong)i, BlockBytes));
            queue.Publish();
            if (queue.Ring.TryEnableInterrupts())
            {
                Assert.True(queue.WaitForInterrupt(60_000), "no interrupt came");
                queue.Ring.DisableInterrupts();
            }

            Assert.Equal(0, BlockRequests.Complete(queue));
            Assert.True(requests.IsSuccess(0));
        }
    }

    [Theory]
    [InlineData("capabilities", false)]
    [InlineData("capabilities", true)]
    [InlineData("fixed", true)]
    public async Task The_other_VM_comes_and_goes(string layout, bool isPublished)
    {
        await using var harness = await VvuHarness.StartAsync(layout, isPublished: isPublished);
        for (var i = 0; i < 5; i++)
        {
            using var device = harness.Connect(isScsi: true);
            var requests = new VirtioScsiRequests(device, 4, BlockBytes);
            Verify(device, requests, i);
            if (i % 2 == 0)
            {
                device.Stop();
            }
        }

        Assert.True(!harness.Logger.Errors.Any(), harness.AllLines());
    }

    [Fact]
    public async Task A_VM_that_dies_within_requests_harms_nobody()
    {
        await using var harness = await VvuHarness.StartAsync(drainTimeout: TimeSpan.FromSeconds(1));
        using (var device = harness.Connect(isScsi: true))
        {
            var requests = new VirtioScsiRequests(device, 8, BlockBytes);
            harness.Port.IsDeferring = true;
            var queue = device.RequestQueue(0);
            for (var i = 0; i < 8; i++)
            {
                Assert.True(requests.TryAdd(queue.Ring, i, isWrite: true, (ulong)(i * Sectors), BlockBytes));
            }

            queue.Publish();
            await VvuHarness.WaitForAsync(() => harness.Port.PendingCount == 8, "the requests");
        }

        harness.OnReactor(() =>
        {
            harness.Port.IsDeferring = false;
            harness.Port.CompletePending();
        });
        using var next = harness.Connect(isScsi: true);
        Verify(next, new VirtioScsiRequests(next, 4, BlockBytes), 3);
    }

    [Fact]
    public async Task A_restarted_appliance_begins_a_new_session_where_the_device_forwards_fully()
    {
        await using var harness = await VvuHarness.StartAsync();
        using (var device = harness.Connect(isScsi: true))
        {
            Verify(device, new VirtioScsiRequests(device, 4, BlockBytes), 1);
            await harness.RestartTransportAsync();
            device.Connection.WaitClosed();
        }

        using var next = harness.Connect(isScsi: true);
        Verify(next, new VirtioScsiRequests(next, 4, BlockBytes), 2);
    }

    [Fact]
    public async Task A_device_that_restarts_is_found_again()
    {
        await using var harness = await VvuHarness.StartAsync();
        using (var device = harness.Connect(isScsi: true))
        {
            Verify(device, new VirtioScsiRequests(device, 4, BlockBytes), 1);
            harness.StopPciDevice();
            device.Connection.WaitClosed();
        }

        harness.StartPciDevice();
        await VvuHarness.WaitForAsync(() => harness.Transport.Status == "waiting for the other VM", "the transport to come back");
        using var next = harness.Connect(isScsi: true);
        Verify(next, new VirtioScsiRequests(next, 4, BlockBytes), 2);
    }

    [Fact]
    public async Task Blk_over_a_published_device_is_refused_with_the_reason()
    {
        await using var harness = new VvuHarness(isBlk: true, isPublished: true);
        var refusal = await Assert.ThrowsAnyAsync<IOException>(async () => await harness.Transport.StartAsync(harness.Device, CancellationToken.None));
        Assert.Contains("device configuration", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Several_devices_live_side_by_side()
    {
        await using var first = await VvuHarness.StartAsync("capabilities", isBlk: true);
        await using var second = await VvuHarness.StartAsync("fixed");
        await using var third = await VvuHarness.StartAsync(isPublished: true);
        using var a = first.Connect(isScsi: false);
        using var b = second.Connect(isScsi: true);
        using var c = third.Connect(isScsi: true);
        for (var i = 0; i < 20; i++)
        {
            Verify(a, new VirtioBlkRequests(a, 3, BlockBytes), i);
            Verify(b, new VirtioScsiRequests(b, 3, BlockBytes), i);
            Verify(c, new VirtioScsiRequests(c, 3, BlockBytes), i);
        }
    }

    [Fact]
    public async Task A_VM_in_the_middle_of_an_earlier_session_is_found_out_and_the_user_told()
    {
        // What a restarted appliance sees on a published device: connected, and no handshake.
        await using var harness = await VvuHarness.StartAsync(isPublished: true);
        using var connection = harness.ConnectRaw();
        await VvuHarness.WaitForAsync(() => harness.Logger.Errors.Any(line => line.Contains("Restart the Compute VM", StringComparison.Ordinal)), "the advice");
        Assert.Contains("must be restarted", harness.Transport.Status, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_change_of_size_reaches_the_other_VM()
    {
        await using var harness = await VvuHarness.StartAsync(isBlk: true);
        using var device = harness.Connect(isScsi: false);
        var (mine, theirs) = Linux.UnixSocket.CreatePair();
        using var channel = new FrontEndConnection(mine);
        using (theirs)
        {
            device.Connection.Tell(FrontEndRequest.SetBackendRequestFd, [], theirs.Raw);
        }

        Assert.Equal(16384ul, BitConverter.ToUInt64(device.ReadConfig(8)));
        harness.OnReactor(() => harness.Port.Change(harness.Port.Info! with { BlockCount = 8192 }, Abstractions.BdevChange.Resized));
        using var request = channel.Receive();
        Assert.Equal((uint)BackendRequest.ConfigChanged, request.Header.Request);
        Assert.Equal(8192ul, BitConverter.ToUInt64(device.ReadConfig(8)));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Stopping_is_bounded_though_requests_never_end(bool isPublished)
    {
        await using var harness = await VvuHarness.StartAsync(isPublished: isPublished, drainTimeout: TimeSpan.FromSeconds(2));
        using var device = harness.Connect(isScsi: true);
        var requests = new VirtioScsiRequests(device, 1, BlockBytes);
        harness.Port.IsDeferring = true;
        harness.Port.IgnoresAbort = true;
        Assert.True(requests.TryAdd(device.RequestQueue(0).Ring, 0, isWrite: true, 0, BlockBytes));
        device.RequestQueue(0).Publish();
        await VvuHarness.WaitForAsync(() => harness.Port.PendingCount == 1, "the request");
        await harness.Transport.DisposeAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(120), TestContext.Current.CancellationToken);
        Assert.Equal("stopped", harness.Transport.Status);
        harness.MayRetainMemory = true;
        harness.OnReactor(() => harness.Port.CompletePending());
    }

    private static void Verify(FrontEndDevice device, BlockRequests requests, int seed)
    {
        var queue = device.RequestQueue(0);
        var place = (ulong)(seed % 50 * Sectors);
        requests.Data(1).Span.Fill((byte)(seed + 1));
        Assert.True(requests.Execute(queue, 1, isWrite: true, place, BlockBytes), requests.DescribeResult(1));
        requests.Data(2).Span.Clear();
        Assert.True(requests.Execute(queue, 2, isWrite: false, place, BlockBytes), requests.DescribeResult(2));
        Assert.Equal(-1, requests.Data(2).Span.IndexOfAnyExcept((byte)(seed + 1)));
    }
}
