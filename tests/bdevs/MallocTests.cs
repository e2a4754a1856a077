using Vhost.Abstractions;
using Vhost.ContractKit;
using Vhost.Plugins.Malloc;

namespace Vhost.Bdevs.Tests;

public sealed unsafe class MallocTests : BdevConformanceTests
{
    protected override BdevHarness Start() => BdevHarness.Start(new MallocFactory(), new MallocOptions { SizeMiB = 8 });

    [Fact]
    public void LargeRangesAreZeroedToTheByte()
    {
        using var harness = BdevHarness.Start(new MallocFactory(), new MallocOptions { SizeMiB = 16, BlockSize = 4096 });
        using var driver = harness.Open();
        var data = new byte[16 << 20];
        foreach (var operation in new[] { BlockOperation.Discard, BlockOperation.WriteZeroes })
        {
            // Across whole huge pages with edges; within one; exactly one; up to the end.
            foreach (var (start, count) in new[] { (100ul, 2000ul), (3ul, 7ul), (512ul, 512ul), (4000ul, 96ul), (511ul, 2ul) })
            {
                data.AsSpan().Fill(0x99);
                Assert.Equal(BlockStatus.Success, driver.Write(0, data));
                Assert.Equal(BlockStatus.Success, driver.Run(operation, start, count));
                data.AsSpan((int)start * 4096, (int)count * 4096).Clear();
                Assert.True(data.AsSpan().SequenceEqual(driver.Read(0, 4096)), $"{operation} {start}+{count}");
            }
        }
    }

    [Fact]
    public void CopiesOfEverySizeAndAlignmentAreExact()
    {
        using var harness = BdevHarness.Start(new MallocFactory(), new MallocOptions { SizeMiB = 8 });
        using var driver = harness.Open();
        var random = new Random(11);
        foreach (var blocks in new[] { 1, 2, 3, 7, 8, 31, 32, 33, 64, 255, 256, 300 })
        {
            for (var shift = 0; shift < 70; shift += 23)
            {
                var data = new byte[(blocks * 512) + shift];
                random.NextBytes(data);
                Assert.Equal(BlockStatus.Success, driver.Write(5, data.AsSpan(shift)));
                Assert.True(data.AsSpan(shift).SequenceEqual(driver.Read(5, (ulong)blocks)));
            }
        }
    }

    [Fact]
    public void ItSaysWhatItIs()
    {
        const string Uuid = "5f0c5ab5-9f0a-4b58-8f4f-6f1d9e3f2f10";
        using var harness = BdevHarness.Start(new MallocFactory(), new MallocOptions { SizeMiB = 3, BlockSize = 4096, Uuid = Uuid });
        var info = harness.Bdev.Info;
        Assert.Equal((4096u, 768ul, "Malloc disk"), (info.BlockSizeBytes, info.BlockCount, info.ProductName));
        Assert.Equal(Guid.Parse(Uuid), info.Uuid);
        Assert.True(info.DiscardReadsZeroes);
        Assert.Contains(harness.Log.Lines, line => line.Text.Contains("3 MiB on", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(0, 512, null, "sizeMiB")]
    [InlineData(1, 511, null, "blockSize")]
    [InlineData(1, 256, null, "blockSize")]
    [InlineData(1, 131072, null, "blockSize")]
    [InlineData(1, -512, null, "blockSize")]
    [InlineData(1, 512, "x", "uuid")]
    public void WrongValuesAreNamed(int sizeMiB, int blockSize, string? uuid, string path)
    {
        var faults = BdevHarness.Faults(new MallocFactory(), new MallocOptions { SizeMiB = sizeMiB, BlockSize = blockSize, Uuid = uuid });
        Assert.Contains(faults, fault => fault.StartsWith(path + ": ", StringComparison.Ordinal));
    }
}
