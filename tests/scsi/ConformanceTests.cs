using Vhost.Abstractions;
using Vhost.Scsi.Conformance;
using Vhost.Testing;

namespace Vhost.Scsi.Tests;

/// <summary>The conformance suite, which knows nothing of the code here, at disks of all kinds.</summary>
public sealed class ConformanceTests
{
    private const BlockOperations Plain = BlockOperations.Read | BlockOperations.Write | BlockOperations.WriteZeroes | BlockOperations.Compare | BlockOperations.CompareAndWrite;

    [Theory]
    [InlineData(512, 4096, MemoryBdevPort.AllOperations, true, 8u)]
    [InlineData(512, 300_000, MemoryBdevPort.AllOperations, true, 0u)]
    [InlineData(4096, 2048, MemoryBdevPort.AllOperations, false, 1u)]
    [InlineData(512, 1024, Plain, false, 100_000u)]
    public void Disks_of_all_kinds_conform(uint blockSize, ulong blockCount, BlockOperations operations, bool hasCache, uint atomicBlocks)
    {
        using var port = new MemoryBdevPort("Disk0", blockSize, blockCount, operations);
        port.Change(port.Info! with { HasVolatileWriteCache = hasCache, DiscardReadsZeroes = hasCache, AtomicWriteBlocks = atomicBlocks, LifeUsedPercent = hasCache ? 1 : null }, BdevChange.Changed);
        using var initiator = new Initiator(new LogicalUnitRegistry(), port);
        var result = Suite.Run(new InProcessPort(initiator));
        Assert.True(result.Failures.Count == 0, string.Join("\n", result.Failures));
        Assert.True(result.Rules > 100 && result.Commands > 1500, $"{result.Rules} rules, {result.Commands} commands");
        TestContext.Current.TestOutputHelper?.WriteLine($"{result.Rules} rules, {result.Commands} commands");
    }

    // Each fault is one that a disk could have; the suite must see it.
    [Theory]
    [InlineData("a lost write")]
    [InlineData("a wrong residual")]
    [InlineData("a wrong field pointer")]
    [InlineData("no sense data")]
    [InlineData("a truncated page")]
    [InlineData("everything succeeds")]
    public void A_disk_that_does_not_conform_is_found_out(string fault)
    {
        using var disk = new Disk();
        var result = Suite.Run(new FaultyPort(new InProcessPort(disk.Initiator), fault));
        Assert.NotEmpty(result.Failures);
    }

    [Fact]
    public void A_disk_that_is_too_small_is_refused()
    {
        using var disk = new Disk(512, 64);
        Assert.Contains("64 blocks", Assert.Throws<InvalidOperationException>(() => Suite.Run(new InProcessPort(disk.Initiator))).Message, StringComparison.Ordinal);
    }

    private sealed class FaultyPort(IScsiPort port, string fault) : IScsiPort
    {
        private int _writes;

        public Answer Send(ReadOnlySpan<byte> cdb, ReadOnlySpan<byte> dataOut, int dataInLength)
        {
            if (fault == "a lost write" && cdb[0] == 0x8A && cdb[1] == 0 && ++_writes == 1)
            {
                return new Answer(0, [], [], 0);
            }

            var answer = port.Send(cdb, dataOut, dataInLength);
            return fault switch
            {
                "a wrong residual" when cdb[0] == 0x12 => answer with { Residual = answer.Residual + 1 },
                "a wrong field pointer" when answer.Status == 2 && answer.Sense.Length == 18 => answer with { Sense = [.. answer.Sense[..17], (byte)(answer.Sense[17] ^ 1)] },
                "no sense data" when answer.Status == 2 && cdb[0] == 0x88 => answer with { Sense = [] },
                "a truncated page" when cdb[0] == 0x12 && answer.DataIn.Length > 4 => answer with { DataIn = answer.DataIn[..^1] },
                "everything succeeds" when answer.Status == 2 && cdb[0] != 0 => answer with { Status = 0, Sense = [] },
                _ => answer,
            };
        }
    }
}
