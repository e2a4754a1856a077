using Vhost.Pci;

namespace Vhost.VirtioPci;

/// <summary>An enabled queue's doorbell.</summary>
/// <param name="bar">The BAR with the notification structure.</param>
/// <param name="offsetBytes">The queue's address in it.</param>
/// <param name="index">The queue.</param>
public sealed class VirtioPciQueue(PciBar bar, ulong offsetBytes, int index)
{
    /// <summary>The queue's index.</summary>
    public int Index { get; } = index;

    /// <summary>Tells the device that there are new buffers. The queue's thread.</summary>
    public void Notify() => bar.Write16(offsetBytes, (ushort)Index);
}
