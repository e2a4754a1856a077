using Vhost.Testing;

namespace Vhost.Scsi.Tests;

/// <summary>A disk of 2048 blocks with one initiator that has nothing pending.</summary>
public sealed class Disk : IDisposable
{
    public Disk(uint blockSizeBytes = 512, ulong blockCount = 2048, bool settle = true)
    {
        Port = new MemoryBdevPort("Disk0", blockSizeBytes, blockCount);
        Registry = new LogicalUnitRegistry();
        Initiator = new Initiator(Registry, Port);
        if (settle)
        {
            Initiator.Settle();
        }
    }

    public MemoryBdevPort Port { get; }

    public LogicalUnitRegistry Registry { get; }

    public Initiator Initiator { get; }

    public static byte[] Pattern(int length, int seed = 1)
    {
        var data = new byte[length];
        new Random(seed).NextBytes(data);
        return data;
    }

    public CommandResult Run(string cdb, byte[]? dataOut = null, int dataInLength = 0) => Initiator.Run(cdb, dataOut, dataInLength);

    public void Dispose()
    {
        Initiator.Dispose();
        Port.Dispose();
    }
}
