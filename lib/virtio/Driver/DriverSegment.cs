namespace Vhost.Virtio;

/// <summary>A piece of a request, as the device addresses it: guest-physical, or an IOVA.</summary>
/// <param name="Address">Address of the first byte, in the device's address space.</param>
/// <param name="LengthBytes">Length, more than 0.</param>
public readonly record struct DriverSegment(ulong Address, uint LengthBytes);
