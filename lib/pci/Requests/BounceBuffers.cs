namespace Vhost.Pci;

/// <summary>
/// Buffers for data that a device cannot reach, or cannot be told of. One thread at a time: each reactor's queue has its own.
/// </summary>
public sealed class BounceBuffers : IDisposable
{
    /// <summary>Size of one buffer: also the most that a bounced command moves.</summary>
    public const int BufferBytes = 128 * 1024;

    private const int Count = 8;
    private readonly DmaMemory _memory;
    private readonly int[] _free = new int[Count];
    private int _freeCount;

    /// <summary>Allocates the buffers.</summary>
    /// <param name="dma">The device's domain.</param>
    /// <exception cref="PciException">There is no memory for them.</exception>
    public BounceBuffers(IDmaDomain dma)
    {
        ArgumentNullException.ThrowIfNull(dma);
        _memory = dma.Allocate(Count * BufferBytes, isContiguous: true);
        for (var i = 0; i < Count; i++)
        {
            _free[_freeCount++] = i;
        }
    }

    /// <summary>Takes a buffer; -1 when all are in use.</summary>
    public int Take() => _freeCount == 0 ? -1 : _free[--_freeCount];

    /// <summary>Gives a buffer back.</summary>
    /// <param name="index">What <see cref="Take"/> gave.</param>
    public void Return(int index) => _free[_freeCount++] = index;

    /// <summary>A buffer's address in this process.</summary>
    /// <param name="index">The buffer.</param>
    public unsafe byte* Address(int index) => (byte*)_memory.Address + ((nint)index * BufferBytes);

    /// <summary>A buffer's address for the device.</summary>
    /// <param name="index">The buffer.</param>
    public ulong Iova(int index) => _memory.Iova + ((ulong)index * BufferBytes);

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();
}
