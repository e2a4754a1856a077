namespace Vhost.VirtioPci;

/// <summary>A structure that a virtio device shows in one of its BARs by a vendor-specific capability (virtio 1.3, section 4.1.4).</summary>
/// <param name="Type">The structure's type: see <see cref="VirtioPciCapabilityType"/>; other values are the device's own.</param>
/// <param name="BarIndex">The BAR, 0 to 5.</param>
/// <param name="OffsetBytes">Where the structure begins in the BAR.</param>
/// <param name="LengthBytes">Its length; it lies wholly within the BAR.</param>
/// <param name="CapabilityOffset">Where the capability lies in configuration space.</param>
/// <param name="CapabilityLengthBytes">Length of the capability itself; what follows the common 16 bytes is the type's own.</param>
public readonly record struct VirtioPciCapability(
    byte Type, int BarIndex, uint OffsetBytes, uint LengthBytes, int CapabilityOffset, int CapabilityLengthBytes);
