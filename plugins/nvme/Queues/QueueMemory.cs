using Vhost.Pci;

namespace Vhost.Plugins.Nvme.Queues;

/// <summary>What the controller reaches of one I/O queue pair: the rings, a page per command for lists, the bounce buffers. Disposed when the controller is disabled.</summary>
internal sealed unsafe class QueueMemory : IDisposable
{
    private const int ListBytes = 4096;
    private readonly DmaMemory[] _lists;
    private readonly int _listsPerPiece;

    public QueueMemory(IPciDevice device, NvmeRing ring, QueueInterrupt interrupt)
    {
        Ring = ring;
        Interrupt = interrupt;
        Bounce = new BounceBuffers(device.Dma);
        // In pieces of at most a huge page, which is all that is contiguous in physical mode.
        _listsPerPiece = Math.Min(ring.Capacity, 2 * 1024 * 1024 / ListBytes);
        _lists = new DmaMemory[(ring.Capacity + _listsPerPiece - 1) / _listsPerPiece];
        for (var i = 0; i < _lists.Length; i++)
        {
            _lists[i] = device.Dma.Allocate((nuint)_listsPerPiece * ListBytes, isContiguous: true);
        }
    }

    public NvmeRing Ring { get; }

    public QueueInterrupt Interrupt { get; }

    public BounceBuffers Bounce { get; }

    /// <summary>The page of a command id, and its address for the controller.</summary>
    public ulong* ListPage(int commandId, out ulong iova)
    {
        var (piece, index) = Math.DivRem(commandId, _listsPerPiece);
        iova = _lists[piece].Iova + ((ulong)index * ListBytes);
        return (ulong*)(_lists[piece].Address + ((nint)index * ListBytes));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Ring.Dispose();
        Bounce.Dispose();
        foreach (var list in _lists)
        {
            list?.Dispose();
        }
    }
}
