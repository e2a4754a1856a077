using System.Buffers.Binary;
using System.Globalization;
using Vhost.Abstractions;
using Vhost.ContractKit;
using Vhost.Testing;
using Vhost.Testing.DeviceModels.Nvme;

namespace Vhost.Nvme.Tests;

/// <summary>How requests become commands: PRP, SGL, bounce, splits; counted on both sides.</summary>
public sealed unsafe class DataPathTests
{
    private const int Length = 64 * 1024;

    // PRP: dword-aligned first address, page-aligned joints. SGL 1: anything. SGL 2: dwords.
    [Theory]
    [InlineData(0, 0, "", true, 0)] // page-aligned
    [InlineData(0, 0, "4096,8192,32768", true, 0)]
    [InlineData(0, 512, "3584,7680", true, 0)] // begins within a page, joints on pages
    [InlineData(0, 512, "512", true, 0)] // adjacent pieces are one
    [InlineData(0, 2, "", false, 0)] // odd start
    [InlineData(0, 1, "", false, 0)]
    [InlineData(1, 1, "", true, 1)]
    [InlineData(1, 3, "5,100,4097,9999", true, 1)]
    [InlineData(2, 4, "8,100,4096", true, -1)] // -1: PRP or SGL, both are right
    [InlineData(2, 2, "", false, 0)]
    [InlineData(1, 0, "4096", true, 0)] // PRP where it can
    public void Memory_that_the_device_reaches_is_bounced_only_where_it_must_be(int sgl, int offset, string cutText, bool isZeroCopy, int sglCommands)
    {
        using var harness = new NvmeHarness(new NvmeSettings { Sgl = (byte)sgl }).Start();
        harness.AnnounceGuest();
        using var driver = harness.Bdevs.Open();
        int[] cuts = cutText.Length == 0 ? [] : [.. cutText.Split(',').Select(cut => int.Parse(cut, CultureInfo.InvariantCulture))];
        RoundTrip(driver, harness.Guest + offset, harness.Guest + (4 << 20) + offset, cuts);
        Assert.Equal(isZeroCopy, harness.Bounced == 0);
        Assert.Equal(0, harness.Model.Counters.Violations);
        if (sglCommands >= 0)
        {
            Assert.Equal(sglCommands > 0, harness.Model.Counters.SglCommands > 0);
        }
    }

    [Theory]
    [InlineData(0, false)]
    [InlineData(1, true)]
    [InlineData(2, true)]
    public void Pieces_that_are_apart_need_an_SGL_or_a_bounce(int sgl, bool isZeroCopy)
    {
        using var harness = new NvmeHarness(new NvmeSettings { Sgl = (byte)sgl }).Start();
        harness.AnnounceGuest();
        using var driver = harness.Bdevs.Open();
        var segments = stackalloc IoSegment[4];
        for (var i = 0; i < 4; i++)
        {
            segments[i] = new IoSegment(harness.Guest + (i * 16384) + 256, 128); // 4 x 128 bytes make one block
            new Span<byte>(segments[i].Address, 128).Fill((byte)(0x30 + i));
        }

        Assert.Equal(BlockStatus.Success, Run(driver, BlockOperation.Write, 77, 1, segments, 4));
        var found = driver.Read(77, 1); // into memory that always bounces
        for (var i = 0; i < 512; i++)
        {
            Assert.Equal(0x30 + (i / 128), found[i]);
        }

        Assert.Equal(isZeroCopy ? 1 : 2, harness.Bounced);
        Assert.Equal(0, harness.Model.Counters.Violations);
    }

    [Fact]
    public void Memory_that_was_not_announced_bounces_and_says_so()
    {
        using var harness = new NvmeHarness(new NvmeSettings { Sgl = 1 }).Start();
        using var driver = harness.Bdevs.Open();
        RoundTrip(driver, harness.Guest, harness.Guest + (4 << 20), []);
        Assert.True(harness.Bounced > 0);
    }

    [Fact]
    public void A_request_that_is_half_reachable_is_split_between_zero_copy_and_bounce()
    {
        using var harness = new NvmeHarness().Start();
        harness.AnnounceGuest(length: Length / 2);
        using var driver = harness.Bdevs.Open();
        RoundTrip(driver, harness.Guest, harness.Guest + (4 << 20), []);
        Assert.InRange(harness.Bounced, 1, 3);
        Assert.True(harness.Model.Counters.PrpCommands >= 3);
    }

    [Theory]
    [InlineData(1, 8192)]
    [InlineData(3, 32768)]
    [InlineData(0, 1 << 20)] // no limit of the controller's: the driver's own
    [InlineData(9, 1 << 20)]
    [InlineData(255, 1 << 20)] // absurd, taken for none
    public void Transfers_are_cut_at_MDTS(int shift, long largest)
    {
        using var harness = new NvmeHarness(new NvmeSettings { MaxTransferShift = (byte)(shift == 255 ? 0 : shift), PatchController = shift == 255 ? data => data[77] = 255 : null }).Start();
        harness.AnnounceGuest();
        using var driver = harness.Bdevs.Open();
        const int Bytes = 2 << 20;
        new Random(1).NextBytes(new Span<byte>(harness.Guest, Bytes));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Write, 5, Bytes / 512, harness.Guest, Bytes));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Read, 5, Bytes / 512, harness.Guest + (4 << 20), Bytes));
        Assert.True(new Span<byte>(harness.Guest, Bytes).SequenceEqual(new Span<byte>(harness.Guest + (4 << 20), Bytes)));
        Assert.Equal(largest, harness.Model.Counters.LargestTransferBytes);
        Assert.Equal(0, harness.Bounced);
        Assert.Equal(0, harness.Model.Counters.Violations);
    }

    /// <summary>AWUPF, NSFEAT and NAWUPF, NABSPF of namespace 1, MDTS, and what its bdev promises; 65,535 stands for 65,536 blocks.</summary>
    [Theory]
    [InlineData(0, -1, 0, 5, 1u)]
    [InlineData(15, -1, 0, 5, 16u)]
    [InlineData(15, 7, 0, 5, 8u)]
    [InlineData(15, 31, 0, 5, 32u)]
    [InlineData(15, 31, 64, 5, 0u)] // cut in two wherever the boundaries lie
    [InlineData(65535, -1, 0, 1, 16u)] // two pages a command
    [InlineData(65535, -1, 0, 5, 256u)]
    public void What_the_device_writes_atomically_is_promised(int controller, int ofNamespace, int boundary, int transferShift, uint blocks)
    {
        using var harness = new NvmeHarness(new NvmeSettings
        {
            MaxTransferShift = (byte)transferShift,
            PatchController = data => BinaryPrimitives.WriteUInt16LittleEndian(data.AsSpan(528), (ushort)controller),
            PatchNamespace = (id, data) =>
            {
                data[24] |= (byte)(id == 1 && ofNamespace >= 0 ? 0x02 : 0);
                BinaryPrimitives.WriteUInt16LittleEndian(data.AsSpan(36), (ushort)Math.Max(0, ofNamespace));
                BinaryPrimitives.WriteUInt16LittleEndian(data.AsSpan(44), (ushort)boundary);
            },
        }).Start();
        Assert.Equal(blocks, harness.Bdevs.Bdev.Info.AtomicWriteBlocks);
    }

    [Fact]
    public void An_atomic_write_is_one_command_wherever_its_data_lie()
    {
        var writes = 0;
        using var harness = new NvmeHarness(new NvmeSettings
        {
            MaxTransferShift = 5,
            PatchController = data => BinaryPrimitives.WriteUInt16LittleEndian(data.AsSpan(528), 127),
            OnIo = command =>
            {
                writes += command.Opcode == 1 ? 1 : 0;
                return NvmeFault.None;
            },
        }).Start();
        harness.AnnounceGuest(length: Length / 2);
        using var driver = harness.Bdevs.Open();
        Assert.Equal(Length / 512u, harness.Bdevs.Bdev.Info.AtomicWriteBlocks);
        new Random(1).NextBytes(new Span<byte>(harness.Guest, Length));

        // Half of it is reachable; then all of it, but not by entries of whole pages.
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Write, 8, Length / 512, harness.Guest, Length, BlockRequestFlags.Atomic));
        Assert.Equal((1, 1L), (writes, harness.Bounced));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Write, 8, Length / 512, harness.Guest, Length));
        Assert.True(writes > 2);
        Assert.True(driver.Read(8, Length / 512).AsSpan().SequenceEqual(new Span<byte>(harness.Guest, Length)));

        writes = 0;
        var segments = stackalloc IoSegment[2];
        segments[0] = new IoSegment(harness.Guest, 5 * 512);
        segments[1] = new IoSegment(harness.Guest + 8192, 3 * 512);
        Assert.Equal(BlockStatus.Success, Run(driver, BlockOperation.Write, 500, 8, segments, 2, BlockRequestFlags.Atomic));
        Assert.Equal(1, writes);
        Assert.True(driver.Read(505, 3).AsSpan().SequenceEqual(new Span<byte>(harness.Guest + 8192, 3 * 512)));
        Assert.Equal(0, harness.Model.Counters.Violations);
    }

    [Fact]
    public void Each_operation_becomes_its_command()
    {
        using var harness = new NvmeHarness().Start();
        using var driver = harness.Bdevs.Open();
        var counters = harness.Model.Counters;
        var data = new byte[512];
        data.AsSpan().Fill(0x42);
        Assert.Equal(BlockStatus.Success, driver.Write(9, data));
        Assert.Equal(0, counters.ForcedWrites);
        Assert.Equal(BlockStatus.Success, driver.Write(9, data, BlockRequestFlags.ForceUnitAccess));
        Assert.Equal(1, counters.ForcedWrites);
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Flush));
        Assert.Equal(1, counters.Flushes);
        fixed (byte* bytes = data)
        {
            Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Compare, 9, 1, bytes, 512));
            data[100] ^= 1;
            Assert.Equal(BlockStatus.Miscompare, driver.Run(BlockOperation.Compare, 9, 1, bytes, 512));
        }

        Assert.Equal(2, counters.Compares);
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.WriteZeroes, 9, 1));
        Assert.Equal(1, counters.ZeroedCommands);
        Assert.Equal(new byte[512], driver.Read(9, 1));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Discard, 0, 32768));
        Assert.Equal(1, counters.Deallocations);
        Assert.Equal(BlockStatus.OutOfRange, driver.Run(BlockOperation.Discard, 32760, 9));
        var info = harness.Bdevs.Bdev.Info;
        Assert.True(info.HasVolatileWriteCache && info.HasForceUnitAccess && info.DiscardReadsZeroes);
    }

    [Fact]
    public void Requests_on_guest_memory_cost_no_allocation_and_no_bounce()
    {
        using var harness = new NvmeHarness().Start();
        harness.AnnounceGuest();
        using var driver = harness.Bdevs.Open(queueDepth: 32);
        harness.Bdevs.Reactors[0].ArmsIdlePollers = false;
        driver.AllowsAnyThread = true;
        Drive(10_000);
        Assert.Equal(0, Allocations.LeastOfRounds(() => Drive(200_000)));
        Assert.Equal(0, harness.Bounced);

        void Drive(int count)
        {
            for (var done = 0; done < count; done += 32)
            {
                for (var i = 0; i < 32; i++)
                {
                    driver.Add(i, (i & 1) == 0 ? BlockOperation.Read : BlockOperation.Write, (ulong)i * 8, 8, harness.Guest + (i * 4096), 4096);
                }

                driver.SubmitRaw();
                while (driver.OutstandingCount > 0)
                {
                    harness.Bdevs.Reactors[0].Turn();
                }
            }
        }
    }

    [Fact]
    public void Doorbells_that_cannot_be_mapped_work_by_messages()
    {
        using var harness = new NvmeHarness(new NvmeSettings { MapsDoorbells = false, MaxTransferShift = 1 }).Start();
        harness.AnnounceGuest();
        using var driver = harness.Bdevs.Open();
        RoundTrip(driver, harness.Guest, harness.Guest + (4 << 20), []);
        Assert.Equal(0, harness.Bounced);
        Assert.True(harness.Model.Counters.DoorbellMessages > 0);
    }

    private static void RoundTrip(BdevDriver driver, byte* source, byte* target, int[] cuts)
    {
        new Random(5).NextBytes(new Span<byte>(source, Length));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Write, 100, Length / 512, source, Length, cuts: cuts));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Read, 100, Length / 512, target, Length, cuts: cuts));
        Assert.True(new Span<byte>(source, Length).SequenceEqual(new Span<byte>(target, Length)));
    }

    private static BlockStatus Run(BdevDriver driver, BlockOperation operation, ulong start, ulong count, IoSegment* segments, int segmentCount, BlockRequestFlags flags = BlockRequestFlags.None)
    {
        driver.Add(0, operation, start, count);
        driver.Request(0)->Flags = flags;
        driver.Request(0)->Segments = segments;
        driver.Request(0)->SegmentCount = segmentCount;
        driver.Submit();
        driver.Wait();
        return driver.Request(0)->Status;
    }
}
