using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;

namespace Vhost.Crash.Tests;

/// <summary>Guests that do what no driver does, beside one that does its work and must not notice.</summary>
public sealed class HostileGuestTests
{
    private const int Block = 4096;

    [Fact]
    public Task A_guest_that_floods_its_kicks_slows_nobody_down_for_good() => BesideAnotherAsync((socket, vhostd) =>
    {
        using var memory = new GuestMemory(0, 4 << 20);
        using var device = FrontEndDevice.Connect(socket, memory, new FrontEndOptions { QueueCount = 4 });
        var requests = new VirtioBlkRequests(device, 1, Block);
        for (int i = 0; i < 400_000; i++)
        {
            _ = EventFd.SignalRaw(device.Queues[i & 3].Kick.Raw);
        }

        Assert.True(requests.Execute(device.RequestQueue(0), 0, isWrite: true, 0, Block));
        device.Stop();
    });

    [Theory]
    [InlineData(VirtqueueFormat.Split)]
    [InlineData(VirtqueueFormat.Packed)]
    public Task A_guest_that_never_looks_at_what_it_got_gets_no_more_than_its_ring_holds(VirtqueueFormat format) => BesideAnotherAsync((socket, vhostd) =>
    {
        using var memory = new GuestMemory(0, 4 << 20);
        using var device = FrontEndDevice.Connect(socket, memory, new FrontEndOptions { Format = format, QueueSize = 64 });
        var requests = new VirtioBlkRequests(device, 64, Block);
        FrontEndQueue queue = device.RequestQueue(0);
        int added = 0;
        while (added < 64 && requests.TryAdd(queue.Ring, added, isWrite: false, (ulong)added, Block))
        {
            added++;
        }

        queue.Publish();
        for (int i = 0; i < 1000; i++)
        {
            queue.Kick.Signal();
        }

        // All of them are answered, and none is taken twice, however long nobody looks.
        var deadline = Environment.TickCount64 + 60_000;
        while (Enumerable.Range(0, added).Any(slot => !requests.IsSuccess(slot)) && Environment.TickCount64 < deadline)
        {
            Thread.Yield();
        }

        var seen = new HashSet<int>();
        while (seen.Count < added)
        {
            Assert.True(seen.Add(BlockRequests.Complete(queue, 60_000)));
        }

        Assert.False(queue.Ring.HasUsed);
        device.Stop();
    });

    [Theory]
    [InlineData(VirtqueueFormat.Split, 1)]
    [InlineData(VirtqueueFormat.Packed, 2)]
    public Task A_guest_that_rewrites_its_rings_while_they_are_read_hurts_itself_alone(VirtqueueFormat format, int seed) => BesideAnotherAsync((socket, vhostd) =>
    {
        // Each round: a new session, and a thread that writes anything into rings, tables and headers while requests are made available.
        for (int round = 0; round < 12; round++)
        {
            using var memory = new GuestMemory(0, 2 << 20);
            using var device = FrontEndDevice.Connect(socket, memory, new FrontEndOptions { Format = format, QueueSize = 64 });
            var requests = new VirtioBlkRequests(device, 16, Block);
            FrontEndQueue queue = device.RequestQueue(0);
            nint start = memory.Regions[0].HostAddress;
            using var stop = new CancellationTokenSource();
            int scribblerSeed = (seed * 1000) + round;
            var scribbler = Task.Factory.StartNew(() => Scribble(start, 1 << 16, new Random(scribblerSeed), stop.Token), TaskCreationOptions.LongRunning);
            for (int i = 0; i < 300; i++)
            {
                try
                {
                    for (int slot = 0; slot < 16; slot++)
                    {
                        _ = requests.TryAdd(queue.Ring, slot, (i & 1) != 0, (ulong)slot, Block);
                    }

                    queue.Publish();
                    queue.Kick.Signal();
                    while (queue.Ring.TryGetUsed(out _, out _))
                    {
                    }
                }
                catch (Exception exception) when (exception is FrontEndException or InvalidOperationException or IndexOutOfRangeException or ArgumentException)
                {
                    // This driver, too, meets what the scribbler wrote; the device is what is tested.
                    break;
                }
            }

            stop.Cancel();
            scribbler.Wait(TimeSpan.FromSeconds(60));
        }

        using var goodMemory = new GuestMemory(0, 2 << 20);
        using var good = FrontEndDevice.Connect(socket, goodMemory, new FrontEndOptions { Format = format });
        Assert.True(new VirtioBlkRequests(good, 1, Block).Execute(good.RequestQueue(0), 0, isWrite: true, 0, Block));
        good.Stop();
    });

    [Fact]
    public Task Thousands_of_connections_are_turned_away_and_leave_nothing_behind() => BesideAnotherAsync((socket, vhostd) =>
    {
        using var memory = new GuestMemory(0, 2 << 20);
        using var device = FrontEndDevice.Connect(socket, memory, new FrontEndOptions());
        var requests = new VirtioBlkRequests(device, 1, Block);
        int before = Descriptors(vhostd);
        for (int i = 0; i < 4000; i++)
        {
            using var socketOfNobody = UnixSocket.Create();
            try
            {
                socketOfNobody.Connect(socket, 60_000);
            }
            catch (LinuxException exception) when (exception.Error == Errno.EAGAIN)
            {
                // The backlog is full: the kernel turns it away.
            }

            if (i % 500 == 0)
            {
                Assert.True(requests.Execute(device.RequestQueue(0), 0, isWrite: true, 0, Block));
            }
        }

        long deadline = Environment.TickCount64 + 60_000;
        while (Descriptors(vhostd) > before && Environment.TickCount64 < deadline)
        {
            Thread.Sleep(20);
        }

        Assert.InRange(Descriptors(vhostd), 0, before);
        Assert.True(requests.Execute(device.RequestQueue(0), 0, isWrite: true, 0, Block));
        device.Stop();
        Assert.True(SpinWait.SpinUntil(() => vhostd.Log.Contains("was turned away", StringComparison.Ordinal), 60_000), "nobody is told to be turned away");
    });

    /// <summary>Sockets, eventfds and the like; the runtime opens files of its own at any time.</summary>
    private static int Descriptors(VhostdProcess vhostd) => Directory.GetFileSystemEntries($"/proc/{vhostd.Id}/fd")
        .Count(path => (new FileInfo(path).LinkTarget ?? "").Split(':')[0] is "socket" or "anon_inode");

    private static unsafe void Scribble(nint start, int lengthBytes, Random random, CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            for (int i = 0; i < 64; i++)
            {
                Volatile.Write(ref *(ushort*)(start + (random.Next(lengthBytes) & ~1)), (ushort)random.Next(1 << 16));
            }

            Thread.Yield();
        }
    }

    private static async Task BesideAnotherAsync(Action<string, VhostdProcess> hostile)
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string hostileSocket = scenario.FilePath("hostile.sock");
            string otherSocket = scenario.FilePath("other.sock");
            VhostdProcess vhostd = await VhostdProcess.StartAsync(scenario, new ManifestBuilder().Malloc("Malloc0", 64).Malloc("Other", 8)
                .Blk("vhost.hostile", hostileSocket, "Malloc0").Blk("vhost.other", otherSocket, "Other").Build());
            using var other = new Guest(new GuestKind("the other guest", false, VirtqueueFormat.Split, 16, 1), otherSocket, 2048);
            Task life = Task.Factory.StartNew(other.Run, TaskCreationOptions.LongRunning);
            try
            {
                await Task.Run(() => hostile(hostileSocket, vhostd)).WaitAsync(TimeSpan.FromSeconds(240));
                long completed = other.Completed;
                await Deadline.UntilAsync("the other guest goes on", TimeSpan.FromSeconds(90), () => life.IsFaulted || other.Completed > completed + 1000);
            }
            finally
            {
                if (vhostd.HasExited)
                {
                    other.Abandon();
                }

                other.Stop();
                await life.WaitAsync(TimeSpan.FromSeconds(120));
            }

            Assert.Equal(0, vhostd.Stop(TimeSpan.FromSeconds(60)));
        });
    }
}
