using Vhost.Linux;

namespace Vhost.Testing.DeviceModels.Nvme;

/// <summary>A namespace in memory, or in a file that outlives the model's process.</summary>
public sealed unsafe class NvmeModelNamespace : IDisposable
{
    private readonly MemoryMapping _memory;

    public NvmeModelNamespace(uint blockSizeBytes, ulong blockCount, string? path = null)
    {
        BlockSizeBytes = blockSizeBytes;
        BlockCount = blockCount;
        var length = (nuint)(blockSizeBytes * blockCount);
        if (path is null)
        {
            _memory = MemoryMapping.MapAnonymous(length);
            return;
        }

        using var file = File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.ReadWrite);
        RandomAccess.SetLength(file, (long)length);
        _memory = MemoryMapping.MapShared((int)file.DangerousGetHandle(), 0, length);
    }

    public uint BlockSizeBytes { get; }

    /// <summary>Capacity; can shrink and grow up to what was made.</summary>
    public ulong BlockCount { get; set; }

    /// <summary>A block's bytes.</summary>
    public byte* Block(ulong index) => _memory.Address + (index * BlockSizeBytes);

    public void Dispose() => _memory.Dispose();
}
