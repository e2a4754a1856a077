using System.Text.Json.Nodes;
using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;
using Vhost.VhostUser;
using Vhost.Virtio;
using Vhost.VvuDevice;

namespace Vhost.Vvu.Tests;

/// <summary>Requests under way and dirty pages, tracked in the device's own memory: nothing is lost with a driver, nothing done twice, no page forgotten.</summary>
public sealed class TrackingTests
{
    private const int BlockBytes = 4096;
    private const int Sectors = BlockBytes / 512;
    private const int QueueSize = 64;
    private const ushort Entries = 256;
    private const int PageShift = 12;
    private const ulong PlainFeatures = VirtioFeatures.Version1 | VhostUserFeatures.ProtocolFeatures;

    [Theory]
    [InlineData("capabilities", VirtqueueFormat.Split)]
    [InlineData("fixed", VirtqueueFormat.Packed)]
    public async Task Requests_under_way_when_the_driver_goes_are_done_by_the_next(string layout, VirtqueueFormat format)
    {
        await using var harness = await VvuHarness.StartAsync(layout, isBlk: true, drainTimeout: TimeSpan.FromSeconds(1));
        using var device = FrontEndDevice.Connect(harness.VhostUserSocket, harness.Memory, new FrontEndOptions
        {
            QueueSize = QueueSize, Format = format, Features = 0, IndirectEntries = 0, ProtocolFeatures = (ProtocolFeatures)ulong.MaxValue,
        });
        var requests = new VirtioBlkRequests(device, 8, BlockBytes);
        var queue = device.RequestQueue(0);
        var area = TakeInFlight(device.Connection, out var file);
        using var owned = file;
        for (var i = 0; i < 5; i++)
        {
            Assert.True(requests.Execute(queue, 0, isWrite: false, 0, BlockBytes));
        }

        harness.Port.Data[..(64 << 10)].Fill(0x33);
        harness.Port.IsDeferring = true;
        harness.Port.IgnoresAbort = true;
        for (var slot = 1; slot < 5; slot++)
        {
            requests.Data(slot).Span.Clear();
            Assert.True(requests.TryAdd(queue.Ring, slot, isWrite: false, (ulong)(slot * Sectors), BlockBytes));
        }

        queue.Publish();
        await VvuHarness.WaitForAsync(() => harness.Port.PendingCount == 4, "the requests");
        harness.Port.IsDeferring = false;

        // A fifth overtakes them, so that the used index alone would name the wrong ones as done.
        Assert.True(requests.Execute(queue, 5, isWrite: false, 0, BlockBytes));
        harness.MayRetainMemory = true;
        await harness.RestartTransportAsync();
        device.Connection.WaitClosed();

        using var next = Reconnect(harness, area, file, format == VirtqueueFormat.Packed ? VirtioFeatures.RingPacked : 0);
        queue.Start(next, format == VirtqueueFormat.Packed ? 0x8000_8000 + (18 * 0x1_0001u) : 6);
        List<int> done = [];
        for (var i = 1; i < 5; i++)
        {
            done.Add(BlockRequests.Complete(queue));
        }

        Assert.Equal([1, 2, 3, 4], done.Order());
        for (var slot = 1; slot < 5; slot++)
        {
            Assert.True(requests.IsSuccess(slot));
            Assert.Equal(-1, requests.Data(slot).Span.IndexOfAnyExcept((byte)0x33));
        }

        Assert.True(requests.Execute(queue, 0, isWrite: false, 0, BlockBytes));
        harness.OnReactor(() => harness.Port.CompletePending());
    }

    [Theory]
    [InlineData("capabilities")]
    [InlineData("fixed")]
    public async Task Vhostd_killed_under_load_loses_nothing_and_completes_nothing_twice(string layout)
    {
        const int Slots = 24;
        const int BlocksPerSlot = 16;
        const int Kills = 3;
        await using var harness = new VvuHarness(layout, isBlk: true);
        var directory = Path.GetDirectoryName(harness.VfioUserSocket)!;
        var disk = Path.Combine(directory, "disk.img");
        var manifest = new JsonObject
        {
            ["bdevs"] = new JsonObject { ["File0"] = new JsonObject { ["type"] = "file", ["path"] = disk, ["blockSize"] = 512, ["create"] = true, ["sizeMiB"] = 8 } },
            ["transports"] = new JsonObject { ["guest"] = new JsonObject { ["type"] = "vvu", ["address"] = harness.VfioUserSocket } },
            ["controllers"] = new JsonObject { ["vhost.0"] = new JsonObject { ["type"] = "blk", ["transport"] = "guest", ["bdev"] = "File0" } },
        };
        var vhostd = VhostdProcess.Start(directory, manifest);
        try
        {
            using var device = FrontEndDevice.Connect(harness.VhostUserSocket, harness.Memory, new FrontEndOptions
            {
                QueueSize = 128, Features = 0, IndirectEntries = 0, ProtocolFeatures = (ProtocolFeatures)ulong.MaxValue,
            });
            var area = TakeInFlight(device.Connection, out var file);
            using var owned = file;
            var requests = new VirtioBlkRequests(device, Slots, BlockBytes);
            var queue = device.RequestQueue(0);
            var connection = device.Connection;
            var sequences = new int[Slots];
            var isUnderWay = new bool[Slots];
            long completed = 0;
            for (var round = 0; round <= Kills; round++)
            {
                // Some hundred requests are done; then vhostd is killed with the queue full, or, at last, everything is let finish.
                var goal = completed + 400;
                while (completed < goal || (round == Kills && Array.IndexOf(isUnderWay, true) >= 0))
                {
                    for (var slot = 0; slot < Slots && completed < goal; slot++)
                    {
                        if (!isUnderWay[slot])
                        {
                            Submit(slot);
                        }
                    }

                    Take(BlockRequests.Complete(queue, 60_000));
                }

                if (round == Kills)
                {
                    break;
                }

                vhostd.Kill();
                vhostd.Dispose();
                connection.WaitClosed();
                connection.Dispose();
                vhostd = VhostdProcess.Start(directory, manifest);
                connection = Reconnect(harness, area, file, 0);

                // What QEMU says when a back-end died: as far as the used ring shows.
                queue.Start(connection, UsedIndex(harness.Memory, queue));
            }

            Assert.Equal(0, vhostd.Stop());
            connection.Dispose();
            using var image = File.OpenRead(disk);
            var block = new byte[BlockBytes];
            for (var slot = 0; slot < Slots; slot++)
            {
                for (var sequence = Math.Max(1, sequences[slot] - BlocksPerSlot + 1); sequence <= sequences[slot]; sequence++)
                {
                    image.Position = (long)BlockOf(slot, sequence) * BlockBytes;
                    image.ReadExactly(block);
                    Assert.True(IsStamped(block, slot, sequence), $"block {BlockOf(slot, sequence)} is not what write {sequence} of slot {slot} left");
                }
            }

            void Submit(int slot)
            {
                var sequence = ++sequences[slot];
                Stamp(requests.Data(slot).Span, slot, sequence);
                Assert.True(requests.TryAdd(queue.Ring, slot, isWrite: true, BlockOf(slot, sequence) * Sectors, BlockBytes));
                isUnderWay[slot] = true;
            }

            void Take(int slot)
            {
                Assert.True(isUnderWay[slot], $"slot {slot} came back twice");
                Assert.True(requests.IsSuccess(slot), requests.DescribeResult(slot));
                isUnderWay[slot] = false;
                completed++;
            }
        }
        catch (Exception exception)
        {
            throw new InvalidOperationException($"{exception.Message}\nvhostd:\n{vhostd.Log}\ndevice:\n{harness.AllLines()}", exception);
        }
        finally
        {
            vhostd.Dispose();
        }

        static ulong BlockOf(int slot, int sequence) => (ulong)((slot * BlocksPerSlot) + (sequence % BlocksPerSlot));
    }

    [Theory]
    [InlineData("capabilities")]
    [InlineData("fixed")]
    public async Task Every_page_that_is_written_while_logging_and_no_other_is_in_the_dirty_log(string layout)
    {
        await using var harness = await VvuHarness.StartAsync(layout, isBlk: true);
        using var device = FrontEndDevice.Connect(harness.VhostUserSocket, harness.Memory, new FrontEndOptions
        {
            QueueSize = QueueSize, Features = 0, IndirectEntries = 0, ProtocolFeatures = (ProtocolFeatures)ulong.MaxValue,
        });
        var requests = new VirtioBlkRequests(device, 8, BlockBytes);
        var queue = device.RequestQueue(0);
        Assert.True(requests.Execute(queue, 0, isWrite: false, 0, BlockBytes));

        // The log lies somewhere in a file, as QEMU's does.
        const ulong LogStart = 4096 + 64;
        const ulong LogLength = 512;
        using var file = MemoryFile.Create("log", 1 << 20);
        StartLogging(device, file, LogStart, LogLength);
        Assert.Empty(Marked(file, LogStart, LogLength));
        Assert.True(requests.Execute(queue, 3, isWrite: false, 0, BlockBytes));

        // Without any further message it arrives after a while.
        await VvuHarness.WaitForAsync(() => Marked(file, LogStart, LogLength).Count != 0, "the log");
        for (var slot = 4; slot < 7; slot++)
        {
            Assert.True(requests.Execute(queue, slot, isWrite: slot == 5, 0, BlockBytes));
        }

        // What was written before a reply is in the log with that: slot 5 wrote to the disk, so that its data stays clean.
        queue.Stop(device.Connection);
        var usedStart = queue.Address.Used - harness.Memory.Regions[0].Description.UserAddress + harness.Memory.Regions[0].Description.GuestAddress;
        SortedSet<ulong> expected = [.. new[] { 3, 4, 6 }.Select(slot => requests.Data(slot).GuestAddress >> PageShift), usedStart >> PageShift];
        var marked = Marked(file, LogStart, LogLength);
        Assert.Subset(marked, expected);

        // And the page of the status bytes, which lie together.
        Assert.Single(marked.Except(expected));

        // Switched off, nothing more is marked.
        device.Connection.TellNumber(FrontEndRequest.SetFeatures, PlainFeatures);
        var before = marked.Count;
        queue.Start(device.Connection, 5);
        Assert.True(requests.Execute(queue, 1, isWrite: false, 0, BlockBytes));
        queue.Stop(device.Connection);
        Assert.Equal(before, Marked(file, LogStart, LogLength).Count);
        Assert.True(!harness.Logger.Errors.Any(), harness.AllLines());
    }

    [Fact]
    public async Task A_new_log_takes_over_and_the_former_one_keeps_what_it_got()
    {
        await using var harness = await VvuHarness.StartAsync(isBlk: true);
        using var device = FrontEndDevice.Connect(harness.VhostUserSocket, harness.Memory, new FrontEndOptions
        {
            QueueSize = QueueSize, Features = 0, IndirectEntries = 0, ProtocolFeatures = (ProtocolFeatures)ulong.MaxValue,
        });
        var requests = new VirtioBlkRequests(device, 8, BlockBytes);
        var queue = device.RequestQueue(0);
        using var first = MemoryFile.Create("log", 4096);
        using var second = MemoryFile.Create("log", 4096);
        StartLogging(device, first, 0, 512);
        Assert.True(requests.Execute(queue, 3, isWrite: false, 0, BlockBytes));
        SetLog(device.Connection, second, 0, 512);
        device.Connection.Tell(FrontEndRequest.SetOwner, []);
        Assert.True(requests.Execute(queue, 4, isWrite: false, 0, BlockBytes));
        queue.Stop(device.Connection);
        var (page3, page4) = (requests.Data(3).GuestAddress >> PageShift, requests.Data(4).GuestAddress >> PageShift);
        Assert.Contains(page3, Marked(first, 0, 512));
        Assert.DoesNotContain(page4, Marked(first, 0, 512));
        Assert.Contains(page4, Marked(second, 0, 512));
        Assert.DoesNotContain(page3, Marked(second, 0, 512));
    }

    [Fact]
    public async Task An_in_flight_area_of_another_device_is_refused_where_it_cannot_be_mapped()
    {
        await using var harness = await VvuHarness.StartAsync(isBlk: true);
        using (var connection = harness.ConnectRaw())
        {
            connection.AskNumber(FrontEndRequest.GetFeatures);
            connection.NegotiateProtocol((ProtocolFeatures)ulong.MaxValue);
            using var foreign = MemoryFile.Create("in-flight", 1 << 20);
            var payload = new byte[24];
            new SharedAreaDescription(1 << 20, 0, 1, Entries).WriteInFlight(payload);
            connection.Send(FrontEndRequest.SetInFlightFd, payload, foreign.Raw);
            connection.WaitClosed();
        }

        await VvuHarness.WaitForAsync(() => harness.Logger.Errors.Any(line => line.Contains("restart the Compute VM", StringComparison.Ordinal)), "the reason");
        Assert.Contains(harness.DeviceLines, line => line.Contains("this device did not make", StringComparison.Ordinal));
        using var next = harness.Connect(isScsi: false);
        Assert.True(new VirtioBlkRequests(next, 1, BlockBytes).Execute(next.RequestQueue(0), 0, isWrite: false, 0, BlockBytes));
    }

    [Fact]
    public void Without_being_mapped_the_tracking_memory_works_by_messages_and_the_log_gains_bits_only()
    {
        using var memory = new TrackingMemory(_ => { });
        memory.Write(8, [1, 2, 3, 4]);
        memory.Write(8, [5, 0]);
        var read = new byte[4];
        memory.Read(8, read);
        Assert.Equal([5, 0, 3, 4], read);

        // Two processors that read the same word, and then each write it back with a bit more.
        memory.Write(TrackingMemory.InFlightBytes + 12, BitConverter.GetBytes(0x1001));
        memory.Write(TrackingMemory.InFlightBytes + 12, BitConverter.GetBytes(0x2000_0002));
        memory.Read(TrackingMemory.InFlightBytes + 12, read);
        Assert.Equal(0x2000_1003, BitConverter.ToInt32(read));

        // Behind both is nothing, until another device's in-flight area comes.
        memory.Write(TrackingMemory.MappedBytes, [1]);
        memory.Read(TrackingMemory.MappedBytes, read);
        Assert.Equal([0xff, 0xff, 0xff, 0xff], read);
        memory.Read(TrackingMemory.MappedBytes - 2, read);
        Assert.Equal([0xff, 0xff, 0xff, 0xff], read);
        using var foreign = MemoryFile.Create("in-flight", 8192);
        FileIo.WriteExactly(foreign.Raw, "area"u8, 4096 + 64);
        var placed = memory.SetInFlight(new SharedAreaDescription(1024, 4096 + 64, 1, 8), Duplicate(foreign));
        Assert.Equal(TrackingMemory.MappedBytes, placed.OffsetBytes);
        memory.Read(placed.OffsetBytes, read);
        Assert.Equal("area"u8, read);
        memory.Write(placed.OffsetBytes + 2, "on"u8);
        FileIo.ReadExactly(foreign.Raw, read, 4096 + 64);
        Assert.Equal("aron"u8, read);
        memory.Read(placed.OffsetBytes + 1022, read);
        Assert.Equal([0xff, 0xff, 0xff, 0xff], read);
        memory.Clear();
        memory.Read(placed.OffsetBytes, read);
        Assert.Equal([0xff, 0xff, 0xff, 0xff], read);
    }

    [Fact]
    public async Task The_descriptor_that_the_other_VM_gets_cannot_take_the_memory_away()
    {
        await using var harness = await VvuHarness.StartAsync(isBlk: true);
        using var device = harness.Connect(isScsi: false);
        TakeInFlight(device.Connection, out var file);
        using (file)
        {
            Assert.Throws<LinuxException>(() => FileIo.SetLength(file.Raw, 4096));
        }
    }

    [Fact]
    public async Task In_flight_areas_that_have_no_room_are_refused_with_the_reason()
    {
        await using var harness = new VvuHarness();
        using var memory = new TrackingMemory(_ => { });
        var fault = Assert.Throws<MasterFault>(() => memory.CreateInFlight(new SharedAreaDescription(TrackingMemory.InFlightBytes + 8, 0, 256, 1024)));
        Assert.Contains("256 queues of 1024", fault.Message, StringComparison.Ordinal);
    }

    private static FileDescriptor Duplicate(FileDescriptor descriptor) => FileDescriptor.DuplicateRaw(descriptor.Raw);

    private static byte[] TakeInFlight(FrontEndConnection connection, out FileDescriptor file)
    {
        var wanted = new byte[24];
        new SharedAreaDescription(0, 0, 1, Entries).WriteInFlight(wanted);
        var area = connection.Ask(FrontEndRequest.GetInFlightFd, wanted, out file).ToArray();
        connection.Tell(FrontEndRequest.SetInFlightFd, area, file.Raw);
        return area;
    }

    private static FrontEndConnection Reconnect(VvuHarness harness, byte[] area, FileDescriptor file, ulong features)
    {
        var next = harness.ConnectRaw();
        next.TimeoutMilliseconds = 60_000;
        next.AskNumber(FrontEndRequest.GetFeatures);
        next.NegotiateProtocol((ProtocolFeatures)ulong.MaxValue);
        next.TellNumber(FrontEndRequest.SetFeatures, PlainFeatures | features);
        harness.Memory.Announce(next);
        next.Tell(FrontEndRequest.SetInFlightFd, area, file.Raw);
        return next;
    }

    private static void StartLogging(FrontEndDevice device, FileDescriptor file, ulong start, ulong length)
    {
        SetLog(device.Connection, file, start, length);
        device.Connection.TellNumber(FrontEndRequest.SetFeatures, PlainFeatures | VhostUserFeatures.LogAll);
        var queue = device.RequestQueue(0);
        var region = device.Memory.Regions[0].Description;
        var payload = new byte[VringAddress.LengthBytes];
        (queue.Address with { Flags = VringAddress.LogFlag, Log = queue.Address.Used - region.UserAddress + region.GuestAddress }).Write(payload);
        device.Connection.Tell(FrontEndRequest.SetVringAddress, payload);
    }

    private static void SetLog(FrontEndConnection connection, FileDescriptor file, ulong start, ulong length)
    {
        var payload = new byte[SharedAreaDescription.LogWireBytes];
        new SharedAreaDescription(length, start).WriteLog(payload);
        connection.Ask(FrontEndRequest.SetLogBase, payload, file.Raw);
    }

    private static SortedSet<ulong> Marked(FileDescriptor file, ulong start, ulong length)
    {
        var bytes = new byte[length];
        FileIo.ReadExactly(file.Raw, bytes, start);
        return [.. Enumerable.Range(0, bytes.Length * 8).Where(page => (bytes[page / 8] & (1 << (page % 8))) != 0).Select(page => (ulong)page)];
    }

    private static unsafe uint UsedIndex(GuestMemory memory, FrontEndQueue queue)
    {
        var region = memory.Regions[0];
        var used = region.HostAddress + (nint)(queue.Address.Used - region.Description.UserAddress);
        return Volatile.Read(ref *(ushort*)(used + 2));
    }

    private static void Stamp(Span<byte> data, int slot, int sequence)
    {
        var stamp = ((ulong)(uint)slot << 32) | (uint)sequence;
        System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ulong>(data).Fill(stamp);
    }

    private static bool IsStamped(ReadOnlySpan<byte> data, int slot, int sequence)
    {
        var stamp = ((ulong)(uint)slot << 32) | (uint)sequence;
        return System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ulong>(data).IndexOfAnyExcept(stamp) < 0;
    }
}
