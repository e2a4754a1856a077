using System.Runtime.InteropServices;
using CsCheck;
using Vhost.Abstractions;
using Vhost.Testing;

namespace Vhost.ContractKit;

/// <summary>
/// What every channel bdev that stores data has to hold. Derive, and say how to make one of at least 8 MiB; each test gets a fresh one.
/// </summary>
public abstract unsafe class BdevConformanceTests
{
    private const int Window = 256;

    /// <summary>Whether a fresh bdev reads as zeroes.</summary>
    protected virtual bool IsZeroAtStart => true;

    /// <summary>Requests for the allocation test.</summary>
    protected virtual int AllocationTestRequests => 1_000_000;

    /// <summary>Starts a source with one writable bdev.</summary>
    protected abstract BdevHarness Start();

    [Fact]
    public void RandomOperationsMatchAModel()
    {
        using var harness = Start();
        using var driver = harness.Open();
        var info = harness.Bdev.Info;
        var starts = new[] { 0ul, info.BlockCount - Window, info.BlockCount / 2 }; // both ends and the middle
        BdevStep.Gen(Window, info.Operations, (int)info.BlockSizeBytes).Array[1, 40].Sample(
            steps =>
            {
                using var model = new BdevModel(driver, starts[steps.Length % starts.Length], Window);
                foreach (var step in steps)
                {
                    model.Apply(step);
                }

                model.Check();
            },
            iter: 60,
            threads: 1);
    }

    [Fact]
    public void ABatchOfRandomOperationsOnSeparateBlocksMatches()
    {
        using var harness = Start();
        using var driver = harness.Open();
        var blockSize = (int)harness.Bdev.Info.BlockSizeBytes;
        const int Stripe = 8;
        var memory = (byte*)NativeMemory.AlignedAlloc((nuint)(driver.QueueDepth * Stripe * blockSize), 4096);
        var random = new Random(7);
        var expected = new byte[driver.QueueDepth * Stripe * blockSize];
        for (var round = 0; round < 30; round++)
        {
            var order = Enumerable.Range(0, driver.QueueDepth).ToArray();
            random.Shuffle(order);
            var isWrite = round % 2 == 0;
            foreach (var i in order)
            {
                var data = memory + (i * Stripe * blockSize);
                if (isWrite)
                {
                    random.NextBytes(expected.AsSpan(i * Stripe * blockSize, Stripe * blockSize));
                    expected.AsSpan(i * Stripe * blockSize, Stripe * blockSize).CopyTo(new Span<byte>(data, Stripe * blockSize));
                }
                else
                {
                    new Span<byte>(data, Stripe * blockSize).Fill(0x77);
                }

                driver.Add(i, isWrite ? BlockOperation.Write : BlockOperation.Read, (ulong)(i * Stripe), Stripe, data, (nuint)(Stripe * blockSize));
            }

            driver.Submit();
            driver.Wait();
            for (var i = 0; i < driver.QueueDepth; i++)
            {
                Assert.Equal(BlockStatus.Success, driver.Request(i)->Status);
            }

            Assert.True(isWrite || expected.AsSpan().SequenceEqual(new Span<byte>(memory, expected.Length)));
        }

        NativeMemory.AlignedFree(memory);
    }

    [Fact]
    public void TheFirstAndTheLastBlockWork()
    {
        using var harness = Start();
        using var driver = harness.Open();
        var info = harness.Bdev.Info;
        foreach (var block in new[] { 0ul, info.BlockCount - 1 })
        {
            var data = new byte[info.BlockSizeBytes];
            Random.Shared.NextBytes(data);
            Assert.Equal(BlockStatus.Success, driver.Write(block, data));
            Assert.Equal(data, driver.Read(block, 1));
        }
    }

    [Fact]
    public void AFreshBdevReadsAsZeroes()
    {
        using var harness = Start();
        if (IsZeroAtStart)
        {
            using var driver = harness.Open();
            Assert.DoesNotContain(driver.Read(0, 512), value => value != 0);
            Assert.DoesNotContain(driver.Read(harness.Bdev.Info.BlockCount - 512, 512), value => value != 0);
        }
    }

    [Fact]
    public void OneLargeRequestOfManySegmentsWorks()
    {
        using var harness = Start();
        using var driver = harness.Open();
        var length = 1 << 20;
        var blocks = (ulong)length / harness.Bdev.Info.BlockSizeBytes;
        var source = (byte*)NativeMemory.AlignedAlloc((nuint)length, 4096);
        var target = (byte*)NativeMemory.AlignedAlloc((nuint)length + 4096, 4096) + 13;
        new Random(3).NextBytes(new Span<byte>(source, length));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Write, 16, blocks, source, (nuint)length, BlockRequestFlags.ForceUnitAccess, [1, 4096, 5000, 70000, 131072, 999_999]));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Read, 16, blocks, target, (nuint)length, cuts: [100, 512, 65536, 200_001]));
        Assert.True(new Span<byte>(source, length).SequenceEqual(new Span<byte>(target, length)));
        NativeMemory.AlignedFree(source);
        NativeMemory.AlignedFree(target - 13);
    }

    [Fact]
    public void SegmentsThatDoNotFitTheRangeAreRefusedWithoutHarm()
    {
        using var harness = Start();
        using var driver = harness.Open();
        var blockSize = harness.Bdev.Info.BlockSizeBytes;
        var data = new byte[4 * blockSize];
        data.AsSpan().Fill(0x5C);
        fixed (byte* bytes = data)
        {
            Assert.Equal(BlockStatus.OutOfRange, driver.Run(BlockOperation.Write, 10, 2, bytes, (nuint)data.Length));
            Assert.Equal(BlockStatus.OutOfRange, driver.Run(BlockOperation.Write, 20, 4, bytes, blockSize));
        }

        Assert.Equal(new byte[blockSize * 2], driver.Read(12, 2));
        Assert.Equal(new byte[blockSize * 3], driver.Read(21, 3));
    }

    [Fact]
    public void TwoReactorsSeeEachOthersWrites()
    {
        using var harness = Start();
        using var first = harness.Open(0);
        using var second = harness.Open(1);
        using var third = harness.Open(1); // a second channel of one reactor
        var data = new byte[harness.Bdev.Info.BlockSizeBytes * 8];
        for (var i = 0; i < 50; i++)
        {
            Random.Shared.NextBytes(data);
            var (writer, reader) = i % 3 == 0 ? (first, second) : i % 3 == 1 ? (second, third) : (third, first);
            Assert.Equal(BlockStatus.Success, writer.Write((ulong)i * 8, data));
            Assert.Equal(data, reader.Read((ulong)i * 8, 8));
        }
    }

    [Fact]
    public void TwoReactorsOnThreadsOfTheirOwnDoNotDisturbEachOther()
    {
        using var harness = Start();
        var blockSize = harness.Bdev.Info.BlockSizeBytes;
        var faults = new Exception?[2];
        var threads = Enumerable.Range(0, 2).Select(which => new Thread(() =>
        {
            try
            {
                using var driver = harness.Open(which);
                var random = new Random(which);
                var data = new byte[blockSize * 4];
                for (var i = 0; i < 400; i++)
                {
                    var start = (ulong)((random.Next(32) * 2) + which) * 4; // every other stripe
                    random.NextBytes(data);
                    Assert.Equal(BlockStatus.Success, driver.Write(start, data));
                    Assert.Equal(data, driver.Read(start, 4));
                }
            }
            catch (Exception e)
            {
                faults[which] = e;
            }
        })).ToArray();
        Array.ForEach(threads, thread => thread.Start());
        Assert.All(threads, thread => Assert.True(thread.Join(TimeSpan.FromSeconds(60))));
        Assert.All(faults, Assert.Null);
    }

    [Fact]
    public void FlushAndForcedWritesSucceed()
    {
        using var harness = Start();
        using var driver = harness.Open();
        var data = new byte[harness.Bdev.Info.BlockSizeBytes];
        Assert.Equal(BlockStatus.Success, driver.Write(3, data));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Flush));
        if (harness.Bdev.Info.HasForceUnitAccess)
        {
            Assert.Equal(BlockStatus.Success, driver.Write(3, data, BlockRequestFlags.ForceUnitAccess));
        }
    }

    [Fact]
    public void AnUnknownOperationIsUnsupported()
    {
        using var harness = Start();
        using var driver = harness.Open();
        Assert.Equal(BlockStatus.Unsupported, driver.Run((BlockOperation)200, 0, 1));
    }

    [Fact]
    public void AChannelThatIsClosedWithRequestsUnderWayCompletesNoneAfterwards()
    {
        using var harness = Start();
        var driver = harness.Open(queueDepth: 64);
        var blockSize = harness.Bdev.Info.BlockSizeBytes;
        var memory = (byte*)NativeMemory.AlignedAlloc(64 * blockSize, 4096);
        for (var i = 0; i < 64; i++)
        {
            driver.Add(i, i % 2 == 0 ? BlockOperation.Write : BlockOperation.Flush, (ulong)i, (ulong)(1 - (i % 2)), memory + (i * blockSize), i % 2 == 0 ? blockSize : 0);
        }

        driver.Submit();
        var completed = driver.CompletedCount;
        driver.Dispose(); // turns the reactor as well
        Assert.Equal(completed, driver.CompletedCount);

        // The memory stays until the harness is gone, as the host's does.
        using (var other = harness.Open())
        {
            Assert.Equal(BlockStatus.Success, other.Run(BlockOperation.Flush));
        }

        harness.Dispose();
        NativeMemory.AlignedFree(memory);
    }

    [Fact]
    public void RequestsCostNoAllocation()
    {
        using var harness = Start();
        using var driver = harness.Open(queueDepth: 32);
        var reactor = harness.Reactors[0];
        driver.AllowsAnyThread = true;
        var length = 4096u;
        var blocks = length / harness.Bdev.Info.BlockSizeBytes;
        var memory = (byte*)NativeMemory.AlignedAlloc(32 * length, 4096);
        new Span<byte>(memory, 32 * (int)length).Clear();
        Drive(20_000);
        Assert.Equal(0, Allocations.LeastOfRounds(() => Assert.True(Drive(AllocationTestRequests) >= AllocationTestRequests)));
        NativeMemory.AlignedFree(memory);

        long Drive(int count)
        {
            var random = 12345u;
            long done = 0;
            while (done < count)
            {
                for (var i = 0; i < 32; i++)
                {
                    random = (random * 1664525) + 1013904223;
                    driver.Add(
                        i,
                        (random & 0x10000) == 0 ? BlockOperation.Read : BlockOperation.Write,
                        random % 1024 * blocks,
                        blocks,
                        memory + (i * length),
                        length);
                }

                driver.SubmitRaw();
                while (driver.OutstandingCount > 0)
                {
                    reactor.Turn();
                }

                done += 32;
            }

            return done;
        }
    }
}
