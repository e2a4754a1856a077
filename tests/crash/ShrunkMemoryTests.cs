using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;
using Vhost.VhostUser;
using Vhost.Virtio;

namespace Vhost.Crash.Tests;

/// <summary>Guests whose memory file is cut while vhostd uses it.</summary>
public sealed class ShrunkMemoryTests
{
    private const int DataBytes = 64 << 10;
    private const ulong RegionBytes = 16 << 20;

    /// <summary>What of the victim's memory is cut, its bdev, and whether what it does ends by itself.</summary>
    [Theory]
    [InlineData("malloc", VirtqueueFormat.Split, false)]
    [InlineData("malloc", VirtqueueFormat.Packed, false)]
    [InlineData("malloc", VirtqueueFormat.Split, true)]
    [InlineData("malloc", VirtqueueFormat.Packed, true)]
    public async Task A_guest_that_shrinks_its_memory_loses_its_session_and_nobody_else_notices(string bdev, VirtqueueFormat format, bool cutsRings)
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string victimSocket = scenario.FilePath("victim.sock");
            string otherSocket = scenario.FilePath("other.sock");
            VhostdProcess vhostd = await VhostdProcess.StartAsync(scenario, new ManifestBuilder()
                .Bdev("Victim", bdev, new() { ["sizeMiB"] = 64 }).Malloc("Other", 8)
                .Blk("vhost.victim", victimSocket, "Victim").Blk("vhost.other", otherSocket, "Other").Build());
            using var other = new Guest(new GuestKind("the other guest", false, VirtqueueFormat.Split, 16, 1), otherSocket, 2048);
            Task life = Task.Factory.StartNew(other.Run, TaskCreationOptions.LongRunning);
            try
            {
                for (int round = 1; round <= 3; round++)
                {
                    await Task.Run(() => ShrinkUnderLoad(victimSocket, format, cutsRings));
                    await Deadline.UntilAsync("the session's end is named", TimeSpan.FromSeconds(60), () =>
                        Count(vhostd.Log, "went away while it was in use") == round);
                    long completed = other.Completed;
                    await Deadline.UntilAsync("the other guest goes on", TimeSpan.FromSeconds(60), () => life.IsFaulted || other.Completed > completed + 1000);
                }

                // The controller serves whoever comes next.
                await Task.Run(() =>
                {
                    using var memory = new GuestMemory(0, RegionBytes);
                    using var device = FrontEndDevice.Connect(victimSocket, memory, new FrontEndOptions { Format = format });
                    var requests = new VirtioBlkRequests(device, 1, DataBytes);
                    Assert.True(requests.Execute(device.RequestQueue(0), 0, isWrite: true, 0, DataBytes));
                    device.Stop();
                });
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

            Assert.Contains("the session with pid", vhostd.Log, StringComparison.Ordinal);
            Assert.Contains("vhost.victim", vhostd.Log, StringComparison.Ordinal);
            Assert.Equal(0, vhostd.Stop(TimeSpan.FromSeconds(60)));
        });
    }

    /// <summary>The memory beside the guest's that vhostd writes for each request.</summary>
    [Theory]
    [InlineData("in-flight area", VirtqueueFormat.Split)]
    [InlineData("in-flight area", VirtqueueFormat.Packed)]
    [InlineData("dirty log", VirtqueueFormat.Split)]
    [InlineData("dirty log", VirtqueueFormat.Packed)]
    public async Task A_guest_that_shrinks_what_its_requests_are_tracked_in_loses_its_session_and_nobody_else_notices(string area, VirtqueueFormat format)
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string victimSocket = scenario.FilePath("victim.sock");
            string otherSocket = scenario.FilePath("other.sock");
            VhostdProcess vhostd = await VhostdProcess.StartAsync(scenario, new ManifestBuilder()
                .Malloc("Victim", 8).Malloc("Other", 8).Blk("vhost.victim", victimSocket, "Victim").Blk("vhost.other", otherSocket, "Other").Build());
            using var other = new Guest(new GuestKind("the other guest", false, VirtqueueFormat.Split, 16, 1), otherSocket, 2048);
            Task life = Task.Factory.StartNew(other.Run, TaskCreationOptions.LongRunning);
            try
            {
                for (int round = 1; round <= 3; round++)
                {
                    await Task.Run(() => ShrinkTracking(victimSocket, format, area == "dirty log"));
                    await Deadline.UntilAsync("the session's end is named", TimeSpan.FromSeconds(60), () => Count(vhostd.Log, "the in-flight area or the dirty log") == round);
                    long completed = other.Completed;
                    await Deadline.UntilAsync("the other guest goes on", TimeSpan.FromSeconds(60), () => life.IsFaulted || other.Completed > completed + 1000);
                }
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

            Assert.Equal(0, vhostd.Stop(TimeSpan.FromSeconds(10)));
        });
    }

    [Fact]
    public async Task Io_of_a_file_bdev_into_memory_that_is_gone_fails_and_vhostd_goes_on()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string socket = scenario.FilePath("victim.sock");
            VhostdProcess vhostd = await VhostdProcess.StartAsync(scenario, new ManifestBuilder()
                .File("Victim", Disk.Create(scenario.FilePath("disk.img"), 64)).Blk("vhost.victim", socket, "Victim").Build());
            await Task.Run(() =>
            {
                using var memory = new GuestMemory(0, RegionBytes, RegionBytes);
                using var device = FrontEndDevice.Connect(socket, memory, new FrontEndOptions());
                var queue = device.RequestQueue(0);
                GuestBuffer control = memory.Allocate(4096, 4096);
                FileIo.SetLength(memory.Regions[1].File.Raw, 0);
                ulong lost = memory.Regions[1].Description.GuestAddress;

                // The kernel is asked to reach the memory: it says EFAULT, and nothing is signalled.
                foreach (bool isWrite in (bool[])[false, true])
                {
                    Add(queue.Ring, control, isWrite, lost, 4096, 0);
                    int slot = BlockRequests.Complete(queue, 60_000);
                    Assert.Equal(0, slot);
                    Assert.Equal(1, control.Span[64]);
                }

                device.Stop();
            });
            Assert.Equal(0, vhostd.Stop(TimeSpan.FromSeconds(60)));
        });
    }

    [Fact]
    public async Task A_bus_error_that_no_memory_explains_ends_the_process_as_before()
    {
        await using var scenario = new Scenario();
        VhostdProcess vhostd = await VhostdProcess.StartAsync(scenario, new ManifestBuilder().Malloc("Malloc0", 8).Blk("vhost.0", scenario.FilePath("s"), "Malloc0").Build());

        // The runtime's own handler takes the first one, which nobody's memory explains, and sets the default action; the second one meets that.
        TestEnvironment.RunToEnd("/bin/sh", ["-c", $"for i in 1 2 3 4 5; do kill -BUS {vhostd.Id} 2>/dev/null || break; sleep 0.5; done"], TimeSpan.FromSeconds(30));
        Assert.True(vhostd.WaitForExit(TimeSpan.FromSeconds(60)) > 128);
    }

    private static void ShrinkUnderLoad(string socket, VirtqueueFormat format, bool cutsRings)
    {
        const int Slots = 32;
        using var memory = new GuestMemory(0, RegionBytes, RegionBytes);
        using var device = FrontEndDevice.Connect(socket, memory, new FrontEndOptions { Format = format, QueueSize = 64, HasKicks = false });
        FrontEndQueue queue = device.RequestQueue(0);
        GuestBuffer control = memory.Allocate(Slots * 128, 4096);
        ulong data = memory.Regions[1].Description.GuestAddress;
        for (int slot = 0; slot < Slots; slot++)
        {
            Add(queue.Ring, control.Slice(slot * 128, 128), (slot & 1) != 0, data + (ulong)(slot * DataBytes), DataBytes, (ulong)slot);
        }

        queue.Publish();
        for (int i = 0; i < 2000; i++)
        {
            int slot = BlockRequests.Complete(queue, 60_000);
            Assert.Equal(0, control.Slice(slot * 128, 128).Span[64]);
            if (i == 1000)
            {
                break;
            }

            Add(queue.Ring, control.Slice(slot * 128, 128), (i & 1) != 0, data + (ulong)(slot * DataBytes), DataBytes, (ulong)slot);
        }

        if (cutsRings)
        {
            // Of its own memory this process touches nothing any more from here on.
            FileIo.SetLength(memory.Regions[0].File.Raw, 0);
            FileIo.SetLength(memory.Regions[1].File.Raw, 0);
        }
        else
        {
            FileIo.SetLength(memory.Regions[1].File.Raw, 0);
            var free = new List<int>();
            while (queue.Ring.TryGetUsed(out ulong token, out _))
            {
                free.Add((int)token);
            }

            // What is submitted from now on needs memory that is gone: it must not come back as done.
            foreach (int slot in free)
            {
                control.Slice(slot * 128, 128).Span[64] = 0xff;
                Add(queue.Ring, control.Slice(slot * 128, 128), isWrite: true, data + (ulong)(slot * DataBytes), DataBytes, (ulong)slot);
            }

            queue.Publish();
            device.Connection.TimeoutMilliseconds = 60_000;
            device.Connection.WaitClosed();
            while (queue.Ring.TryGetUsed(out ulong token, out _))
            {
                Assert.DoesNotContain((int)token, free);
            }

            Assert.NotEmpty(free);

            return;
        }

        device.Connection.TimeoutMilliseconds = 60_000;
        device.Connection.WaitClosed();
    }

    private static void ShrinkTracking(string socket, VirtqueueFormat format, bool isLog)
    {
        using var device = new TrackedDevice(socket, format, isScsi: false, 4 << 20);
        var requests = new VirtioBlkRequests(device.Device, 2, 4096);
        using MemoryFile log = MemoryFile.Create("dirty log", 4096);
        if (isLog)
        {
            var description = new byte[16];
            description[1] = 0x10;
            _ = device.Connection.Ask(FrontEndRequest.SetLogBase, description, log.Raw);
            device.Connection.TellNumber(FrontEndRequest.SetFeatures, device.Device.Features | VhostUserFeatures.ProtocolFeatures | VhostUserFeatures.LogAll);
        }

        Assert.True(requests.Execute(device.Queue, 0, isWrite: false, 0, 4096));
        FileIo.SetLength(isLog ? log.Raw : device.InFlight.Raw, 0);

        // Its data is right and may come back; but what was to be written down beside it is lost.
        Assert.True(requests.TryAdd(device.Queue.Ring, 0, isWrite: false, 0, 4096));
        device.Queue.Publish();
        device.Connection.TimeoutMilliseconds = 60_000;
        device.Connection.WaitClosed();
    }

    private static unsafe void Add(DriverVirtqueue ring, GuestBuffer control, bool isWrite, ulong dataAddress, int lengthBytes, ulong slot)
    {
        var header = (byte*)control.HostAddress;
        *(uint*)header = isWrite ? VirtioBlkRequests.Out : VirtioBlkRequests.In;
        *(ulong*)(header + 8) = slot * (DataBytes / 512);
        var head = new DriverSegment(control.GuestAddress, 16);
        var data = new DriverSegment(dataAddress, (uint)lengthBytes);
        var status = new DriverSegment(control.GuestAddress + 64, 1);
        Assert.True(isWrite ? ring.TryAdd([head, data], [status], slot) : ring.TryAdd([head], [data, status], slot));
    }

    private static int Count(string text, string part) => text.Split(part).Length - 1;
}
