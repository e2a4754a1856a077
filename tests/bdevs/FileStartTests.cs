using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.ContractKit;
using Vhost.Plugins.File;

namespace Vhost.Bdevs.Tests;

/// <summary>Opening, creating, locking, and what is said when it cannot be done.</summary>
public sealed unsafe class FileStartTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void AMissingFileIsCreatedAndAnExistingOneKeepsItsDataAndSize()
    {
        var options = new FileBdevOptions { Path = _directory.File("new.img"), Create = true, SizeMiB = 8 };
        var data = new byte[512];
        data.AsSpan().Fill(0x42);
        using (var harness = BdevHarness.Start(new FileFactory(), options))
        {
            using var driver = harness.Open();
            Assert.Equal(16384ul, harness.Bdev.Info.BlockCount);
            Assert.Equal(BlockStatus.Success, driver.Write(7, data));
            Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Flush));
        }

        options.SizeMiB = 4;
        using (var harness = BdevHarness.Start(new FileFactory(), options))
        {
            using var driver = harness.Open();
            Assert.Equal(16384ul, harness.Bdev.Info.BlockCount);
            Assert.Equal(data, driver.Read(7, 1));
        }
    }

    [Fact]
    public void WhatCannotBeOpenedIsExplained()
    {
        Directory.CreateDirectory(_directory.File("folder"));
        File.WriteAllBytes(_directory.File("small"), new byte[100]);
        File.WriteAllBytes(_directory.File("odd"), new byte[5000]);
        Explains(new() { Path = _directory.File("missing") }, "missing does not exist", "truncate -s 10G");
        Explains(new() { Path = _directory.File("folder") }, "neither a regular file nor a block device", "name one");
        Explains(new() { Path = "/dev/null" }, "neither a regular file nor a block device", "name one");
        Explains(new() { Path = _directory.File("small") }, "has 100 bytes, less than one block", "truncate");
        Explains(new() { Path = _directory.File("odd") }, "has 5000 bytes, which is not a multiple of the block size 512: its last 392 bytes", "truncate -s 5120");
        Explains(new() { Path = _directory.File("odd/below") }, "a part of the path is no directory", "correct");
        Explains(new() { Path = _directory.File("no/such/folder/x"), Create = true, SizeMiB = 1 }, "its directory does not exist", "mkdir -p");
        Assert.Empty(Directory.GetFiles(_directory.Path, "missing"));
    }

    [Fact]
    public void AFileIsUsedByOneWriterOnlyAndTheHolderIsNamed()
    {
        var path = _directory.File("disk");
        File.WriteAllBytes(path, new byte[1 << 20]);
        using (BdevHarness.Start(new FileFactory(), new FileBdevOptions { Path = path }))
        {
            var holder = $"(process {Environment.ProcessId})";
            Explains(new() { Path = path }, "is in use by", holder, "stop that one");
            Explains(new() { Path = path, ReadOnly = true }, "is in use by", holder);
        }

        using (BdevHarness.Start(new FileFactory(), new FileBdevOptions { Path = path, ReadOnly = true }))
        using (BdevHarness.Start(new FileFactory(), new FileBdevOptions { Path = path, ReadOnly = true }))
        {
            Explains(new() { Path = path }, "is in use by");
        }

        using (BdevHarness.Start(new FileFactory(), new FileBdevOptions { Path = path }))
        {
            // Released with the last user.
        }
    }

    [Fact]
    public void AnotherProcessMeetsTheLock()
    {
        var path = _directory.File("disk");
        File.WriteAllBytes(path, new byte[1 << 20]);
        using var harness = BdevHarness.Start(new FileFactory(), new FileBdevOptions { Path = path });
        var output = Privileged.Run(
            "python3",
            "-c",
            """
            import fcntl, struct, sys
            file = open(sys.argv[1], "r+b")
            try:
                fcntl.fcntl(file, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
                print("taken")
            except OSError as error:
                print("refused", error.errno)
            """,
            path);
        Assert.StartsWith("refused 11", output, StringComparison.Ordinal);
    }

    [Fact]
    public void ReadOnlyTellsSoAndCannotWrite()
    {
        var path = _directory.File("disk");
        File.WriteAllBytes(path, new byte[1 << 20]);
        using var harness = BdevHarness.Start(new FileFactory(), new FileBdevOptions { Path = path, ReadOnly = true });
        using var driver = harness.Open();
        var info = harness.Bdev.Info;
        Assert.True(info.IsReadOnly);
        Assert.False(info.HasVolatileWriteCache);
        Assert.Equal(BlockOperations.Read | BlockOperations.Flush, info.Operations);
        Assert.NotEqual(BlockStatus.Success, driver.Write(0, new byte[512]));
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Flush));
        Assert.Equal(new byte[512], driver.Read(0, 1));
    }

    [Theory]
    [InlineData("", 512, false, null, "auto", "path")]
    [InlineData("/x", 1000, false, null, "auto", "blockSize")]
    [InlineData("/x", 512, true, null, "auto", "sizeMiB")]
    [InlineData("/x", 512, false, 5, "auto", "sizeMiB")]
    [InlineData("/x", 512, true, 0, "auto", "sizeMiB")]
    [InlineData("/x", 512, false, null, "aio", "ioEngine")]
    public void WrongValuesAreNamed(string path, int blockSize, bool create, int? sizeMiB, string engine, string key)
    {
        var options = new FileBdevOptions { Path = path, BlockSize = blockSize, Create = create, SizeMiB = sizeMiB, IoEngine = engine };
        Assert.Contains(BdevHarness.Faults(new FileFactory(), options), fault => fault.StartsWith(key + ": ", StringComparison.Ordinal));
    }

    [Fact]
    public void GrowthAndShrinkingAreNoticed()
    {
        var path = _directory.File("disk");
        File.WriteAllBytes(path, new byte[1 << 20]);
        using var harness = BdevHarness.Start(new FileFactory(), new FileBdevOptions { Path = path });
        using var driver = harness.Open();
        foreach (var size in new[] { 3 << 20, 1 << 19 })
        {
            var before = harness.Changes.Length;
            using (var file = File.OpenWrite(path))
            {
                file.SetLength(size);
            }

            Until(() => harness.Changes.Length > before);
            Assert.Equal((ulong)size / 512, harness.Bdev.Info.BlockCount);
            Assert.Equal(new byte[512], driver.Read(((ulong)size / 512) - 1, 1));
        }
    }

    [Fact]
    public void AReadBeyondTheEndOfACutFileFailsAndIsNotMadeUp()
    {
        var path = _directory.File("disk");
        File.WriteAllBytes(path, new byte[1 << 20]);
        using var harness = BdevHarness.Start(new FileFactory(), new FileBdevOptions { Path = path });
        using var driver = harness.Open();
        using (var file = File.OpenWrite(path))
        {
            file.SetLength(512 << 10);
        }

        var data = stackalloc byte[1024];
        Assert.Equal(BlockStatus.IoError, driver.Run(BlockOperation.Read, 1500, 2, data, 1024));
        Assert.Equal(BlockStatus.IoError, driver.Run(BlockOperation.Read, 1023, 2, data, 1024));
    }

    [Fact]
    public void ADeletedFileIsReported()
    {
        var path = _directory.File("disk");
        File.WriteAllBytes(path, new byte[1 << 20]);
        using var harness = BdevHarness.Start(new FileFactory(), new FileBdevOptions { Path = path });
        File.Move(path, path + ".old");
        Until(() => Array.Exists(harness.Log.Lines, line => line.Level == LogLevel.Error && line.Text.Contains("was deleted or replaced", StringComparison.Ordinal)));
    }

    private static void Until(Func<bool> condition)
    {
        for (var i = 0; i < 2400 && !condition(); i++)
        {
            Thread.Sleep(50);
        }

        Assert.True(condition());
    }

    private static void Explains(FileBdevOptions options, params string[] parts)
    {
        var fault = Assert.ThrowsAny<IOException>(() => BdevHarness.Start(new FileFactory(), options, "Disk7"));
        Assert.StartsWith($"bdev Disk7: {options.Path} ", fault.Message, StringComparison.Ordinal);
        Assert.All(parts, part => Assert.Contains(part, fault.Message, StringComparison.Ordinal));
    }
}
