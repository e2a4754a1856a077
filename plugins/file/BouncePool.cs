using Vhost.Linux;

namespace Vhost.Plugins.File;

/// <summary>
/// Buffers for requests whose own memory O_DIRECT cannot use. A longer request goes through one of them piece by piece. The memory is taken
/// at the first need.
/// </summary>
internal sealed unsafe class BouncePool : IDisposable
{
    /// <summary>Size of a buffer: a multiple of each block size.</summary>
    public const int BufferBytes = 128 << 10;

    private const int BufferCount = 32;

    private readonly Stack<int> _free = new(BufferCount);
    private MemoryMapping? _memory;

    /// <summary>Whether one can be taken.</summary>
    public bool HasFree => _memory is null || _free.Count > 0;

    /// <summary>Takes a buffer; -1 while there is none.</summary>
    public int TryTake()
    {
        if (_memory is null)
        {
            _memory = MemoryMapping.MapAnonymous(BufferBytes * BufferCount);
            for (var i = 0; i < BufferCount; i++)
            {
                _free.Push(i);
            }
        }

        return _free.TryPop(out var index) ? index : -1;
    }

    /// <summary>Gives a buffer back.</summary>
    /// <param name="index">The buffer.</param>
    public void Return(int index) => _free.Push(index);

    /// <summary>The buffer's first byte.</summary>
    /// <param name="index">A buffer that was taken.</param>
    // SAFETY: the index comes from TryTake, so the memory is there.
    public byte* AddressOf(int index) => _memory!.Address + ((nuint)index * BufferBytes);

    /// <inheritdoc/>
    public void Dispose() => _memory?.Dispose();
}
