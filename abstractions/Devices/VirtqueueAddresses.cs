namespace Vhost.Abstractions;

/// <summary>
/// Where a virtqueue lies, as addresses of this process. The transport has checked that all three areas lie wholly within the memory map
/// and are aligned (virtio 1.3, sections 2.7 and 2.8).
/// </summary>
/// <param name="Descriptors">Split: the descriptor table. Packed: the descriptor ring.</param>
/// <param name="Driver">Split: the available ring. Packed: the driver event suppression structure.</param>
/// <param name="Device">Split: the used ring. Packed: the device event suppression structure.</param>
/// <param name="UsedLogGuestAddress">Guest address of the used ring, for the dirty log; 0 when nothing is logged.</param>
public readonly record struct VirtqueueAddresses(nint Descriptors, nint Driver, nint Device, ulong UsedLogGuestAddress = 0);
