using System.Buffers.Binary;
using System.Text.Json.Nodes;
using Vhost.Abstractions;
using Vhost.Testing.FrontEnd;

namespace Vhost.Crash.Tests;

/// <summary>Commands that cannot be carried out twice, under way when vhostd is killed after it has carried them out and before it said so.</summary>
public sealed class RepeatTests
{
    private const int Block = 512;
    private const int CompareSlot = 0;
    private const int CopySlot = 1;
    private const int WriteSlot = 2;
    private const int CopyFrom = 8;
    private const int CopyTo = 9;
    private const int CopyCount = 6;
    private const int WriteBlock = 64;
    private const byte CheckCondition = 2;
    private const byte UnitAttention = 6;
    private const byte AbortedCommand = 0xb;

    [Theory]
    [InlineData(VirtqueueFormat.Split)]
    [InlineData(VirtqueueFormat.Packed)]
    public async Task A_command_that_cannot_be_repeated_is_aborted_after_a_kill_and_a_write_is_repeated(VirtqueueFormat format)
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string image = Disk.Create(scenario.FilePath("disk.img"), 1);
            byte[] content = new byte[1 << 20];
            new Random(1).NextBytes(content);
            content.AsSpan(0, Block).Clear();
            await File.WriteAllBytesAsync(image, content, TestContext.Current.CancellationToken);

            // What is written reaches the file at once; that it was written is told in an hour.
            string socket = scenario.FilePath("s");
            VhostdProcess vhostd = await VhostdProcess.StartAsync(scenario, Manifest(image, socket, 3_600_000_000));
            byte[] expected = (byte[])content.Clone();
            await Task.Run(async () =>
            {
                using var device = new TrackedDevice(socket, format, isScsi: true, 4 << 20);
                var requests = new VirtioScsiRequests(device.Device, 3, 4096);
                Submit(device.Queue, requests, expected);
                await Deadline.UntilAsync("all is written", TimeSpan.FromSeconds(60), () => File.ReadAllBytes(image).AsSpan().SequenceEqual(expected));
                Assert.False(device.Queue.Ring.HasUsed);

                vhostd.Kill();
                vhostd = await VhostdProcess.StartAsync(scenario, Manifest(image, socket, 0));

                // Whatever is written from now on is seen: the write will repair this block, and nothing else may change.
                Array.Fill(expected, (byte)0xee, 0, Block);
                Array.Fill(expected, (byte)0xdd, WriteBlock * Block, Block);
                await File.WriteAllBytesAsync(image, expected);
                Array.Fill(expected, (byte)0x33, WriteBlock * Block, Block);
                device.ConnectAgain();
                for (int i = 0; i < 3; i++)
                {
                    int slot = BlockRequests.Complete(device.Queue, 60_000);
                    if (slot == WriteSlot)
                    {
                        // A started target says so once, and not to a command that it had before and cannot repeat.
                        Assert.Equal((CheckCondition, UnitAttention, 0x2900), Outcome(requests, slot));
                        AddWrite(device.Queue, requests);
                        slot = BlockRequests.Complete(device.Queue, 60_000);
                    }

                    if (slot == WriteSlot)
                    {
                        Assert.True(requests.IsSuccess(slot), requests.DescribeResult(slot));
                        continue;
                    }

                    Assert.Equal((CheckCondition, AbortedCommand, 0x2f02), Outcome(requests, slot));
                }

                Assert.Equal(expected, await File.ReadAllBytesAsync(image));

                // Only what was under way is refused, not the commands as such.
                Assert.Equal(0, Execute(device.Queue, requests, CompareSlot, () => AddCompareAndWrite(device.Queue, requests, 0xee, 0x44)));
                Array.Fill(expected, (byte)0x44, 0, Block);
                Assert.Equal(expected, await File.ReadAllBytesAsync(image));
            });
            Assert.Equal(0, vhostd.Stop(TimeSpan.FromSeconds(10)));
        });
    }

    private static JsonObject Manifest(string image, string socket, long writeDelayUs) => new ManifestBuilder()
        .File("File0", image).Bdev("Slow0", "delay", new() { ["bdev"] = "File0", ["writeAverageUs"] = writeDelayUs }).Scsi("vhost.0", socket, "Slow0").Build();

    private static void Submit(FrontEndQueue queue, VirtioScsiRequests requests, byte[] expected)
    {
        byte[] list = CopyOverlapping(queue, requests);
        AddCompareAndWrite(queue, requests, 0, 0x11);
        Array.Fill(expected, (byte)0x11, 0, Block);

        Span<byte> cdb = requests.Cdb(CopySlot);
        cdb.Clear();
        cdb[0] = 0x83;
        BinaryPrimitives.WriteInt32BigEndian(cdb[10..], list.Length);
        list.CopyTo(requests.Data(CopySlot).Span);
        Assert.True(requests.TryAddCommand(queue.Ring, CopySlot, isWrite: true, list.Length));
        expected.AsSpan(CopyFrom * Block, CopyCount * Block).ToArray().CopyTo(expected, CopyTo * Block);

        AddWrite(queue, requests);
        Array.Fill(expected, (byte)0x33, WriteBlock * Block, Block);
        queue.Publish();
    }

    private static void AddCompareAndWrite(FrontEndQueue queue, VirtioScsiRequests requests, byte compare, byte write)
    {
        Span<byte> cdb = requests.Cdb(CompareSlot);
        cdb.Clear();
        cdb[0] = 0x89;
        cdb[13] = 1;
        requests.Data(CompareSlot).Span[..Block].Fill(compare);
        requests.Data(CompareSlot).Span.Slice(Block, Block).Fill(write);
        Assert.True(requests.TryAddCommand(queue.Ring, CompareSlot, isWrite: true, 2 * Block));
    }

    private static void AddWrite(FrontEndQueue queue, VirtioScsiRequests requests)
    {
        requests.Data(WriteSlot).Span[..Block].Fill(0x33);
        Assert.True(requests.TryAdd(queue.Ring, WriteSlot, isWrite: true, WriteBlock, Block));
    }

    /// <summary>A parameter list of EXTENDED COPY (LID1) that moves blocks of a disk one block further.</summary>
    private static byte[] CopyOverlapping(FrontEndQueue queue, VirtioScsiRequests requests)
    {
        int status = Execute(queue, requests, CopySlot, () =>
        {
            Span<byte> cdb = requests.Cdb(CopySlot);
            cdb.Clear();
            cdb[0] = 0x12;
            cdb[1] = 1;
            cdb[2] = 0x83;
            cdb[4] = 255;
            Assert.True(requests.TryAddCommand(queue.Ring, CopySlot, isWrite: false, 255));
        });
        Assert.Equal(0, status);
        Span<byte> page = requests.Data(CopySlot).Span;
        byte[] list = new byte[16 + 32 + 28];
        list[0] = 1;
        list[3] = 32;
        list[11] = 28;
        list[16] = 0xe4;
        page.Slice(4, 4 + page[7]).CopyTo(list.AsSpan(20));
        BinaryPrimitives.WriteInt32BigEndian(list.AsSpan(44), Block);
        Span<byte> segment = list.AsSpan(48);
        segment[0] = 0x02;
        segment[3] = 0x18;
        BinaryPrimitives.WriteInt16BigEndian(segment[10..], CopyCount);
        BinaryPrimitives.WriteInt64BigEndian(segment[12..], CopyFrom);
        BinaryPrimitives.WriteInt64BigEndian(segment[20..], CopyTo);
        return list;
    }

    private static int Execute(FrontEndQueue queue, VirtioScsiRequests requests, int slot, Action add)
    {
        add();
        Assert.Equal(slot, BlockRequests.Complete(queue, 60_000));
        Assert.Equal(0, requests.Response(slot));
        return requests.Status(slot);
    }

    private static (byte Status, byte Key, int Additional) Outcome(VirtioScsiRequests requests, int slot)
    {
        ReadOnlySpan<byte> sense = requests.Sense(slot);
        Assert.True(sense.Length >= 14, requests.DescribeResult(slot));
        return (requests.Status(slot), (byte)(sense[2] & 15), BinaryPrimitives.ReadUInt16BigEndian(sense[12..]));
    }
}
