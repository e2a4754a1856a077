namespace Vhost.VvuDevice;

/// <summary>What the two published vvu devices show differently.</summary>
/// <param name="Name">What the command line calls it.</param>
/// <param name="HasCapabilities">Whether vendor capabilities tell where things are, and kicks interrupt.</param>
/// <param name="VectorCount">MSI-X vectors.</param>
/// <param name="VectorBarBytes">Length of the BAR with the MSI-X table.</param>
/// <param name="PendingOffset">Where the pending bits lie in it.</param>
/// <param name="DoorbellStride">Distance between two doorbells.</param>
/// <param name="DoorbellBytes">Length of all doorbells.</param>
/// <param name="MemoryOffset">Where memory begins in BAR 2, for the arithmetic of drivers.</param>
internal sealed record DeviceLayout(
    string Name, bool HasCapabilities, int VectorCount, ulong VectorBarBytes, uint PendingOffset, uint DoorbellStride, uint DoorbellBytes, ulong MemoryOffset)
{
    /// <summary>Queues of the other VM, at most (max_vhost_queues).</summary>
    public const int MaxQueues = 1024;

    /// <summary>Length of BAR 2.</summary>
    public const ulong MemoryBarBytes = 1UL << 36;

    /// <summary>Length of BAR 4, which holds the four virtio structures, a page each.</summary>
    public const ulong VirtioBarBytes = 4 * PageBytes;

    /// <summary>Offset of the registers that give kicks their vectors, where there are capabilities.</summary>
    public const ulong NotificationOffset = 0x2000;

    /// <summary>Length of a virtio structure.</summary>
    public const uint PageBytes = 0x1000;

    /// <summary>The device of 2018: everything at fixed offsets.</summary>
    public static DeviceLayout Fixed { get; } = new("fixed", false, 3, 0x1000, 0x800, 2, (MaxQueues + 1) * 2, 0x1000);

    /// <summary>The device of 2019: vendor capabilities.</summary>
    public static DeviceLayout Capabilities { get; } = new("capabilities", true, 1027, 0x8000, 0x4030, 4, 0x2000, 0x3000);
}
