namespace Vhost.Virtio;

/// <summary>Where the parts of a driver's virtqueue lie. One zeroed block of <see cref="DriverVirtqueueLayout.TotalBytes"/> holds all.</summary>
public readonly unsafe struct DriverVirtqueueMemory
{
    /// <summary>Lays a virtqueue out in one block.</summary>
    /// <param name="layout">Where each part lies in it.</param>
    /// <param name="block">The block in this process: zeroed, aligned to 64 bytes. It outlives the queue.</param>
    /// <param name="deviceAddress">Address of the block in the device's address space.</param>
    public DriverVirtqueueMemory(DriverVirtqueueLayout layout, byte* block, ulong deviceAddress)
    {
        ArgumentNullException.ThrowIfNull(layout);
        Descriptors = block + layout.DescriptorsOffsetBytes;
        Driver = block + layout.DriverOffsetBytes;
        Device = block + layout.DeviceOffsetBytes;
        Tables = layout.TableEntryCount == 0 ? null : block + layout.TablesOffsetBytes;
        TablesDeviceAddress = deviceAddress + (ulong)layout.TablesOffsetBytes;
        TableEntryCount = layout.TableEntryCount;
    }

    /// <summary>Descriptor table or ring.</summary>
    public byte* Descriptors { get; }

    /// <summary>Available ring or driver event structure.</summary>
    public byte* Driver { get; }

    /// <summary>Used ring or device event structure.</summary>
    public byte* Device { get; }

    /// <summary>Indirect tables, one for each entry of the queue, or null.</summary>
    public byte* Tables { get; }

    /// <summary>Address of <see cref="Tables"/> in the device's address space.</summary>
    public ulong TablesDeviceAddress { get; }

    /// <summary>Descriptors in each table.</summary>
    public int TableEntryCount { get; }
}
