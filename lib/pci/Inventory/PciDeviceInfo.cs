namespace Vhost.Pci;

/// <summary>A PCI function as sysfs shows it.</summary>
/// <param name="Address">Its address.</param>
/// <param name="VendorId">Vendor.</param>
/// <param name="DeviceId">Device.</param>
/// <param name="ClassCode">Base class, subclass and programming interface: 24 bits.</param>
/// <param name="Driver">The driver that holds it; null for none.</param>
/// <param name="IommuGroup">Its IOMMU group; null without an IOMMU.</param>
/// <param name="BlockDevices">The kernel's block devices on it, with partitions.</param>
/// <param name="Obstacle">Why it is not safe to take; null where it is.</param>
public sealed record PciDeviceInfo(
    PciAddress Address,
    ushort VendorId,
    ushort DeviceId,
    uint ClassCode,
    string? Driver,
    string? IommuGroup,
    IReadOnlyList<string> BlockDevices,
    string? Obstacle)
{
    /// <summary>
    /// Whether it is a virtio-vhost-user device: the transitional id 1af4:1017, or the modern one, which virtio-mem has too, with a 64 GiB BAR 2.
    /// </summary>
    public bool IsVirtioVhostUser { get; init; }

    /// <summary>Whether nothing of this machine would miss it.</summary>
    public bool IsSafeToTake => Obstacle is null;

    /// <summary>Whether a driver holds it that gives devices to processes.</summary>
    public bool IsForUserSpace => Driver is "vfio-pci" or "uio_pci_generic";
}

/// <summary>What stands in the way of driving a device.</summary>
public enum PciProblemCode
{
    /// <summary>There is no such device.</summary>
    NotFound,

    /// <summary>This machine uses it.</summary>
    InUse,

    /// <summary>A kernel module is not loaded.</summary>
    ModuleMissing,

    /// <summary>vfio was asked for and there is no IOMMU.</summary>
    NoIommu,

    /// <summary>Other devices of its IOMMU group are held by drivers of the kernel.</summary>
    GroupShared,

    /// <summary>The limit on locked memory is low.</summary>
    MemoryLockLimit,

    /// <summary>No huge pages are free.</summary>
    NoHugePages,
}

/// <summary>A problem and what to do about it.</summary>
/// <param name="Code">What it is.</param>
/// <param name="Text">The particulars.</param>
/// <param name="Remedy">What to do.</param>
/// <param name="IsFatal">Whether the device cannot be bound at all.</param>
public sealed record PciProblem(PciProblemCode Code, string Text, string Remedy, bool IsFatal);
