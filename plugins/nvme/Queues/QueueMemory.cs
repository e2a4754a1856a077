using Vhost.BlockController;
using Vhost.Pci;

namespace Vhost.Plugins.Nvme.Queues;

/// <summary>What the controller reaches of one I/O queue pair: the rings, a page per command for lists, the bounce buffers. Disposed when the controller is disabled.</summary>
internal sealed class QueueMemory : IDisposable
{
    /// <summary>Allocates what goes with a ring, and owns that too from then on.</summary>
    public QueueMemory(IPciDevice device, NvmeRing ring, QueueInterrupt interrupt)
    {
        Ring = ring;
        Interrupt = interrupt;
        Bounce = new BounceBuffers(device.Dma);
        try
        {
            Lists = new CommandPages(device.Dma, ring.Capacity);
        }
        catch
        {
            Bounce.Dispose();
            throw;
        }
    }

    public NvmeRing Ring { get; }

    public QueueInterrupt Interrupt { get; }

    public BounceBuffers Bounce { get; }

    /// <summary>A page for each command, for its list of addresses.</summary>
    public CommandPages Lists { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        Ring.Dispose();
        Bounce.Dispose();
        Lists.Dispose();
    }
}
