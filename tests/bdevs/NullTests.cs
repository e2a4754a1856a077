using Vhost.Abstractions;
using Vhost.ContractKit;
using Vhost.Plugins.Null;
using Vhost.Testing;

namespace Vhost.Bdevs.Tests;

public sealed unsafe class NullTests
{
    [Fact]
    public void EverythingSucceedsAndBuffersStayAsTheyAre()
    {
        using var harness = BdevHarness.Start(new NullFactory(), new NullOptions { SizeMiB = 1 });
        using var driver = harness.Open();
        Assert.All(driver.Read(0, 2048), value => Assert.Equal(0xA5, value)); // what the driver fills in
        Assert.Equal(BlockStatus.Success, driver.Write(2047, new byte[512]));
        foreach (var operation in Enum.GetValues<BlockOperation>())
        {
            Assert.True(harness.Bdev.Info.Operations.HasFlag((BlockOperations)(1 << (int)operation)));
            Assert.Equal(BlockStatus.Success, driver.Run(operation, 0, operation == BlockOperation.Flush ? 0ul : 1));
        }
    }

    [Fact]
    public void AMillionRequestsCostNoAllocation()
    {
        using var harness = BdevHarness.Start(new NullFactory(), new NullOptions { SizeMiB = 1 });
        using var driver = harness.Open(queueDepth: 32);
        driver.AllowsAnyThread = true;
        Drive(1000);
        var batches = 1000;
        Assert.Equal(0, Allocations.LeastOfRounds(() =>
        {
            batches += 32_000;
            Drive(32_000);
        }));
        Assert.Equal(batches * 32, driver.CompletedCount);

        void Drive(int count)
        {
            for (var batch = 0; batch < count; batch++)
            {
                for (var i = 0; i < 32; i++)
                {
                    driver.Add(i, BlockOperation.Read, (ulong)i, 1);
                }

                driver.SubmitRaw();
            }
        }
    }

    [Theory]
    [InlineData(0, 512, "sizeMiB")]
    [InlineData(1, 1000, "blockSize")]
    public void WrongValuesAreNamed(int sizeMiB, int blockSize, string path)
    {
        var faults = BdevHarness.Faults(new NullFactory(), new NullOptions { SizeMiB = sizeMiB, BlockSize = blockSize });
        Assert.Contains(faults, fault => fault.StartsWith(path + ": ", StringComparison.Ordinal));
    }
}
