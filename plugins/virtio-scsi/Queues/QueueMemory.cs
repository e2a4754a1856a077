using Vhost.Abstractions;
using Vhost.BlockController;
using Vhost.Pci;
using Vhost.Virtio;

namespace Vhost.Plugins.VirtioScsi.Queues;

/// <summary>What the HBA reaches of one virtqueue: the ring, a page for each command, the bounce buffers. Disposed when the device was reset.</summary>
internal sealed unsafe class QueueMemory : IDisposable
{
    /// <summary>Where the response lies in a command's page.</summary>
    public const int ResponseOffset = 256;

    /// <summary>Where small data lies in it.</summary>
    public const int DataOffset = 1024;

    private readonly DmaMemory _ring;

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
        _ring = dma.Allocate((nuint)layout.TotalBytes, isContiguous: true);
        try
        {
            Pages = new CommandPages(dma, size);
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

    /// <summary>A page for each command: request, response and small data.</summary>
    public CommandPages Pages { get; } = null!;

    public BounceBuffers? Bounce { get; }

    /// <summary>A block of zeroes, for WRITE SAME.</summary>
    public DmaMemory? Zeroes { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        _ring.Dispose();
        Pages?.Dispose();
        Bounce?.Dispose();
        Zeroes?.Dispose();
    }
}
