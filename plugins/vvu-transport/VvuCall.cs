using Vhost.Linux;
using Vhost.Pci;
using Vhost.VhostUser;

namespace Vhost.Plugins.VvuTransport;

/// <summary>Interrupts the other VM by a doorbell: one 16-bit write.</summary>
/// <param name="bar">The BAR with the doorbells.</param>
/// <param name="offsetBytes">The queue's doorbell.</param>
/// <param name="queueIndex">The queue; what is written does not matter.</param>
internal sealed class VvuCall(PciBar bar, ulong offsetBytes, int queueIndex) : IQueueCall
{
    private volatile bool _hasTarget;

    /// <inheritdoc/>
    public void Notify()
    {
        if (_hasTarget)
        {
            bar.Write16(offsetBytes, (ushort)queueIndex);
        }
    }

    /// <inheritdoc/>
    public void SetTarget(FileDescriptor? descriptor, bool isPolled)
    {
        _hasTarget = !isPolled;
        if (!isPolled)
        {
            // The device changed the target before this message came: what was rung meanwhile may have gone to the former one.
            bar.Write16(offsetBytes, (ushort)queueIndex);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _hasTarget = false;
}
