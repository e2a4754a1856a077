using Vhost.Abstractions;
using Vhost.Pci;
using Vhost.Virtio;

namespace Vhost.Plugins.VirtioScsi.Queues;

/// <summary>What the HBA reaches of one virtqueue: the ring, a page for each command, the bounce buffers. Disposed when the device was reset.</summary>
internal sealed unsafe class QueueMemory : IDisposable
{
    /// <summary>Bytes of a command's page.</summary>
    public const int PageBytes = 4096;

    /// <summary>Where the response lies in it.</summary>
    public const int ResponseOffset = 256;

    /// <summary>Where small data lies in it.</summary>
    public const int DataOffset = 1024;

    private readonly DmaMemory _ring;
    private readonly DmaMemory[] _pages;
    private readonly int _pagesPerPiece;

    /// <summary>Allocates.</summary>
    /// <param name="dma">The device's domain.</param>
    /// <param name="format">Split or packed.</param>
    /// <param name="size">Entries of the ring.</param>
    /// <param name="features">The negotiated features.</param>
    /// <param name="segmentsPerCommand">Pieces of data that a command may have.</param>
    /// <param name="withBounceBuffers">Whether block requests go through the queue.</param>
    public QueueMemory(IDmaDomain dma, VirtqueueFormat format, int size, ulong features, int segmentsPerCommand, bool withBounceBuffers)
    {
        var layout = new DriverVirtqueueLayout(format, size, segmentsPerCommand + 2);
        _pagesPerPiece = Math.Min(size, 2 * 1024 * 1024 / PageBytes);
        _pages = new DmaMemory[(size + _pagesPerPiece - 1) / _pagesPerPiece];
        _ring = dma.Allocate((nuint)layout.TotalBytes, isContiguous: true);
        try
        {
            for (var i = 0; i < _pages.Length; i++)
            {
                _pages[i] = dma.Allocate((nuint)_pagesPerPiece * PageBytes, isContiguous: true);
            }

            Bounce = withBounceBuffers ? new BounceBuffers(dma) : null;
            Zeroes = withBounceBuffers ? dma.Allocate(64 * 1024, isContiguous: true) : null;
        }
        catch
        {
            Dispose();
            throw;
        }

        Layout = layout;
        RingIova = _ring.Iova;
        Ring = DriverVirtqueue.Create(format, size, features, new DriverVirtqueueMemory(layout, (byte*)_ring.Address, _ring.Iova));

        // QEMU counts the data of a write too. The response is checked by what it holds.
        Ring.AllowsCountOfReadableBytes = true;
    }

    public DriverVirtqueue Ring { get; }

    public DriverVirtqueueLayout Layout { get; }

    public ulong RingIova { get; }

    public BounceBuffers? Bounce { get; }

    /// <summary>A block of zeroes, for WRITE SAME.</summary>
    public DmaMemory? Zeroes { get; }

    /// <summary>A command's page, and its address for the device.</summary>
    public byte* Page(int slot, out ulong iova)
    {
        var (piece, index) = Math.DivRem(slot, _pagesPerPiece);
        iova = _pages[piece].Iova + ((ulong)index * PageBytes);
        return (byte*)_pages[piece].Address + ((nint)index * PageBytes);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _ring.Dispose();
        foreach (var page in _pages)
        {
            page?.Dispose();
        }

        Bounce?.Dispose();
        Zeroes?.Dispose();
    }
}
