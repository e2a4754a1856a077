namespace Vhost.Pci;

/// <summary>What kind of function it is (PCI Local Bus 3.0, section 6.2).</summary>
/// <param name="VendorId">Vendor.</param>
/// <param name="DeviceId">Device.</param>
/// <param name="ClassCode">Base class, subclass and programming interface: 24 bits; 0x010802 is NVMe.</param>
/// <param name="RevisionId">Revision.</param>
/// <param name="SubsystemVendorId">Subsystem vendor.</param>
/// <param name="SubsystemId">Subsystem.</param>
public readonly record struct PciIdentity(
    ushort VendorId, ushort DeviceId, uint ClassCode, byte RevisionId, ushort SubsystemVendorId, ushort SubsystemId);
