using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.ContractKit;
using Vhost.Linux;
using Vhost.Plugins.File;

namespace Vhost.Bdevs.Tests;

/// <summary>What reaches the disk, and how.</summary>
public sealed unsafe class FileIoTests : IDisposable
{
    private const int MiB = 1 << 20;

    private readonly TemporaryDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData("io_uring")]
    [InlineData("threads")]
    public void DiscardPunchesHolesAndZeroesKeepTheSpaceUnlessTheyMayUnmap(string engine)
    {
        using var harness = Start(engine, out var path);
        using var driver = harness.Open();
        var data = new byte[4 * MiB];
        Random.Shared.NextBytes(data);
        Assert.Equal(BlockStatus.Success, driver.Write(0, data));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Flush));
        var full = FileStatus.Of(path).AllocatedBytes;
        Assert.True(full >= 4 * MiB);

        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.WriteZeroes, 0, 2048));
        Assert.Equal(full, FileStatus.Of(path).AllocatedBytes);

        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.WriteZeroes, 0, 2048, flags: BlockRequestFlags.MayUnmap));
        Assert.Equal(full - MiB, FileStatus.Of(path).AllocatedBytes);

        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Discard, 2048, 2048));
        Assert.Equal(full - (2 * MiB), FileStatus.Of(path).AllocatedBytes);
        using (var file = FileIo.Open(path, OpenMode.ReadOnly))
        {
            Assert.Equal(0ul, FileIo.FindHole(file.Raw, 0));
            Assert.Equal(2ul * MiB, FileIo.FindData(file.Raw, 0));
        }

        data.AsSpan(0, 2 * MiB).Clear();
        Assert.True(data.AsSpan().SequenceEqual(driver.Read(0, 8192)));
        Assert.Equal(16ul * MiB, FileStatus.Of(path).Size);
    }

    [Fact]
    public void ABatchIsOneSystemCall()
    {
        using var harness = Start("io_uring", out _);
        using var driver = harness.Open(queueDepth: 64);
        var queue = ReactorQueues.Get(harness.Reactors[0], useIoUring: true);
        var memory = (byte*)NativeMemory.AlignedAlloc(64 * 4096, 4096);
        for (var round = 1; round <= 10; round++)
        {
            var before = queue.SubmitCalls;
            for (var i = 0; i < 64; i++)
            {
                driver.Add(i, BlockOperation.Read, (ulong)i * 8, 8, memory + (i * 4096), 4096);
            }

            driver.Submit();
            driver.Wait();
            Assert.Equal(1, queue.SubmitCalls - before);
        }

        harness.Reactors[0].Invoke(() => ReactorQueues.Release(queue));
        NativeMemory.AlignedFree(memory);
    }

    [Fact]
    public void AFileInMemoryIsCopiedWithoutADetour()
    {
        var folder = Directory.CreateDirectory($"/dev/shm/vhost-{Guid.NewGuid():N}");
        try
        {
            using var harness = BdevHarness.Start(
                new FileFactory(), new FileBdevOptions { Path = Path.Combine(folder.FullName, "disk.img"), Create = true, SizeMiB = 4, IoEngine = "io_uring" });
            using var driver = harness.Open();
            var queue = ReactorQueues.Get(harness.Reactors[0], useIoUring: true);
            var data = new byte[4096];
            Random.Shared.NextBytes(data);
            Assert.Equal(BlockStatus.Success, driver.Write(8, data, BlockRequestFlags.ForceUnitAccess));
            Assert.Equal(data, driver.Read(8, 8));
            Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Flush));
            Assert.Equal(0, queue.SubmitCalls);
            harness.Reactors[0].Invoke(() => ReactorQueues.Release(queue));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Theory]
    [InlineData("io_uring")]
    [InlineData("threads")]
    public void MoreRequestsThanFitWaitInLine(string engine)
    {
        using var harness = Start(engine, out _);
        const int Count = 5000;
        using var driver = harness.Open(queueDepth: Count);
        using var other = harness.Open();
        var memory = (uint*)NativeMemory.AlignedAlloc(Count * 512, 4096);
        foreach (var operation in new[] { BlockOperation.Write, BlockOperation.Read })
        {
            for (var i = 0; i < Count; i++)
            {
                memory[i * 128] = operation == BlockOperation.Write ? (uint)i : 0;
                driver.Add(i, operation, (ulong)i, 1, (byte*)(memory + (i * 128)), 512);
            }

            driver.Submit();
            Assert.Equal(BlockStatus.Success, other.Run(BlockOperation.Flush)); // another channel's request behind them gets its turn
            driver.Wait();
        }

        for (var i = 0; i < Count; i++)
        {
            Assert.Equal((uint)i, memory[i * 128]);
        }

        NativeMemory.AlignedFree(memory);
    }

    [Theory]
    [InlineData("io_uring")]
    [InlineData("threads")]
    public void AnAbortedRequestCompletesOnceAndOneThatWaitsDoesNothing(string engine)
    {
        using var harness = Start(engine, out _);
        const int Count = 3000;
        using var driver = harness.Open(queueDepth: Count);
        var memory = (byte*)NativeMemory.AlignedAlloc(Count * 512, 4096);
        new Span<byte>(memory, Count * 512).Fill(0x11);
        for (var i = 0; i < Count; i++)
        {
            driver.Add(i, BlockOperation.Write, (ulong)i, 1, memory + (i * 512), 512);
        }

        driver.Submit();
        for (var i = 0; i < Count; i++)
        {
            if (driver.Request(i)->SubmitterContext != 0)
            {
                var request = new BlockRequestPointer(driver.Request(i));
                harness.Reactors[0].Invoke(() => driver.Channel.Abort(request));
            }
        }

        driver.Wait();
        Assert.Equal(Count, driver.CompletedCount);
        Assert.Equal(BlockStatus.Aborted, driver.Request(Count - 1)->Status); // there are fewer slots, so it waited
        for (var i = 0; i < Count; i++)
        {
            var status = driver.Request(i)->Status;
            Assert.True(status is BlockStatus.Success or BlockStatus.Aborted);
        }

        var last = driver.Read(Count - 1, 1);
        Assert.Equal(new byte[512], last);
        NativeMemory.AlignedFree(memory);
    }

    [Theory]
    [InlineData("io_uring", false)]
    [InlineData("threads", false)]
    [InlineData("io_uring", true)]
    public void MoreSegmentsThanTheKernelTakesAtOnceAreContinued(string engine, bool direct)
    {
        using var harness = Start(engine, out _, direct);
        using var driver = harness.Open();
        const int Count = 3000;
        const int SegmentBytes = 1024;
        const uint Total = Count * SegmentBytes / 4096 * 4096;
        var memory = (byte*)NativeMemory.AlignedAlloc(2 * Total, 4096);
        var segments = (IoSegment*)NativeMemory.Alloc(Count, (nuint)sizeof(IoSegment));
        new Random(5).NextBytes(new Span<byte>(memory, (int)Total));
        foreach (var operation in new[] { BlockOperation.Write, BlockOperation.Read })
        {
            for (var i = 0; i < Count; i++)
            {
                segments[i] = new IoSegment(memory + (operation == BlockOperation.Read ? Total : 0) + (i * SegmentBytes), SegmentBytes);
            }

            driver.Add(0, operation, 0, Total / harness.Bdev.Info.BlockSizeBytes);
            driver.Request(0)->Segments = segments;
            driver.Request(0)->SegmentCount = (int)(Total / SegmentBytes);
            driver.Submit();
            driver.Wait();
            Assert.Equal(BlockStatus.Success, driver.Request(0)->Status);
        }

        Assert.True(new Span<byte>(memory, (int)Total).SequenceEqual(new Span<byte>(memory + Total, (int)Total)));
        NativeMemory.AlignedFree(memory);
        NativeMemory.Free(segments);
    }

    [Theory]
    [InlineData("io_uring")]
    [InlineData("threads")]
    public void DirectBouncesOnlyWhatIsMisaligned(string engine)
    {
        using var harness = Start(engine, out _, direct: true);
        using var driver = harness.Open(queueDepth: 64);
        const int Each = 512 << 10; // four bounce buffers long
        var memory = (byte*)NativeMemory.AlignedAlloc((64 * Each) + 4096, 4096);
        var details = (IDetailSource)harness.Bdev;
        foreach (var shift in new[] { 0, 8 })
        {
            for (var i = 0; i < 32; i++)
            {
                new Span<byte>(memory + shift + (i * Each), Each).Fill((byte)(i + shift));
                driver.Add(i, BlockOperation.Write, (ulong)(i * Each / 4096), Each / 4096, memory + shift + (i * Each), Each);
            }

            driver.Submit();
            driver.Wait();
            new Span<byte>(memory, (64 * Each) + 4096).Clear();
            for (var i = 0; i < 32; i++)
            {
                Assert.Equal(BlockStatus.Success, driver.Request(i)->Status);
                driver.Add(i, BlockOperation.Read, (ulong)(i * Each / 4096), Each / 4096, memory + shift + (i * Each), Each);
            }

            driver.Submit();
            driver.Wait();
            for (var i = 0; i < 32; i++)
            {
                Assert.False(new Span<byte>(memory + shift + (i * Each), Each).ContainsAnyExcept((byte)(i + shift)));
            }

            Assert.Equal(shift == 0 ? "0" : "64", details.GetDetails()["bounced_requests"]);
        }

        NativeMemory.AlignedFree(memory);
    }

    [Theory]
    [InlineData("io_uring")]
    [InlineData("threads")]
    public void AFullFileSystemIsNoSpaceAndNothingElseFails(string engine)
    {
        using var privileged = new Privileged();
        var path = Path.Combine(privileged.MountTmpfs(1024), "disk.img");
        using var harness = BdevHarness.Start(new FileFactory(), new FileBdevOptions { Path = path, Create = true, SizeMiB = 4, IoEngine = engine });
        using var driver = harness.Open();
        var data = new byte[64 << 10];
        data.AsSpan().Fill(1);
        var statuses = Enumerable.Range(0, 64).Select(i => driver.Write((ulong)i * 128, data)).ToArray();
        Assert.Equal(BlockStatus.Success, statuses[0]);
        Assert.Contains(BlockStatus.NoSpace, statuses);
        Assert.DoesNotContain(statuses, status => status is not (BlockStatus.Success or BlockStatus.NoSpace));
        Assert.Equal(data, driver.Read(0, 128));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Discard, 0, 1024));
        Assert.Equal(BlockStatus.Success, driver.Write(4096, data)); // there is room again
    }

    [Fact]
    public void FlushAndForcedWritesReachTheDevice()
    {
        using var privileged = new Privileged();
        var device = privileged.CreateLoopDevice();
        using var harness = BdevHarness.Start(new FileFactory(), new FileBdevOptions { Path = device });
        using var driver = harness.Open();
        var data = new byte[4096];
        // A plain write stays in the page cache. Somebody else's sync of the whole machine writes it all the same: it does not come between each time.
        long writes, flushes;
        var staysCached = false;
        var attempts = 0;
        do
        {
            Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Flush));
            (writes, flushes) = Statistics(device);
            Assert.Equal(BlockStatus.Success, driver.Write(0, data));
            staysCached = Statistics(device) == (writes, flushes);
        }
        while (!staysCached && ++attempts < 100);
        Assert.True(staysCached, "each plain write reached the device");

        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Flush));
        var flushed = Statistics(device);
        Assert.True(flushed.Writes > writes && flushed.Flushes > flushes);

        Assert.Equal(BlockStatus.Success, driver.Write(64, data, BlockRequestFlags.ForceUnitAccess));
        var forced = Statistics(device);
        Assert.True(forced.Writes > flushed.Writes && forced.Flushes > flushed.Flushes);

        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.WriteZeroes, 64, 8, flags: BlockRequestFlags.ForceUnitAccess));
        Assert.True(Statistics(device).Flushes > forced.Flushes);
    }

    [Fact]
    public void AFailedSyncIsNeverForgotten()
    {
        // The loop device's file lies on a file system that fills up: what is written is lost at the sync, which the kernel tells once.
        using var privileged = new Privileged();
        var device = privileged.CreateLoopDevice(privileged.MountTmpfs(1024), sizeMiB: 4);
        using var harness = BdevHarness.Start(new FileFactory(), new FileBdevOptions { Path = device });
        using var first = harness.Open(0);
        using var second = harness.Open(1);
        var data = new byte[2 * MiB];
        data.AsSpan().Fill(9);
        Assert.Equal(BlockStatus.Success, first.Write(0, data));
        Assert.NotEqual(BlockStatus.Success, first.Run(BlockOperation.Flush));
        Assert.Equal(BlockStatus.IoError, first.Run(BlockOperation.Flush));
        Assert.Equal(BlockStatus.IoError, second.Run(BlockOperation.Flush));
        Assert.Equal(BlockStatus.IoError, second.Write(0, data.AsSpan(0, 512), BlockRequestFlags.ForceUnitAccess));
        Assert.Single(harness.Log.Lines, line => line.Level == LogLevel.Critical && line.Text.Contains("may be lost", StringComparison.Ordinal));
    }

    [Fact]
    public void ADeviceInUseIsRefused()
    {
        using var privileged = new Privileged();
        var device = privileged.CreateLoopDevice();
        Privileged.Run("mkfs.ext4", "-q", device);
        var mountPoint = Directory.CreateDirectory(_directory.File("mnt")).FullName;
        Privileged.Run("mount", device, mountPoint);
        try
        {
            var fault = Assert.ThrowsAny<IOException>(() => BdevHarness.Start(new FileFactory(), new FileBdevOptions { Path = device }));
            Assert.Contains("is in use: mounted", fault.Message, StringComparison.Ordinal);
        }
        finally
        {
            Privileged.Run("umount", mountPoint);
        }
    }

    [Fact]
    public void DirectNeedsTheDevicesBlockSize()
    {
        using var privileged = new Privileged();
        var device = privileged.CreateLoopDevice(sectorSize: 4096);
        var fault = Assert.ThrowsAny<IOException>(() => BdevHarness.Start(new FileFactory(), new FileBdevOptions { Path = device, Direct = true }));
        Assert.Contains("set \"blockSize\": 4096", fault.Message, StringComparison.Ordinal);

        // Through the page cache it works, also with ranges that the device itself could not do.
        using var harness = BdevHarness.Start(new FileFactory(), new FileBdevOptions { Path = device });
        using var driver = harness.Open();
        var data = new byte[16 * 512];
        data.AsSpan().Fill(3);
        Assert.Equal(BlockStatus.Success, driver.Write(0, data));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.WriteZeroes, 1, 3));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Discard, 9, 2));
        data.AsSpan(512, 3 * 512).Clear();
        Assert.Equal(data, driver.Read(0, 16));
        Assert.Equal(4096u, harness.Bdev.Info.PhysicalBlockSizeBytes);
    }

    private static (long Writes, long Flushes) Statistics(string device)
    {
        var fields = File.ReadAllText($"/sys/block/{Path.GetFileName(device)}/stat").Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return (long.Parse(fields[4], null), long.Parse(fields[15], null));
    }

    private BdevHarness Start(string engine, out string path, bool direct = false)
    {
        path = _directory.File("disk.img");
        return BdevHarness.Start(
            new FileFactory(),
            new FileBdevOptions { Path = path, Create = true, SizeMiB = 16, IoEngine = engine, Direct = direct, BlockSize = direct ? 4096 : 512 });
    }
}
