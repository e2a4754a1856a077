namespace Vhost.Abstractions;

/// <summary>
/// A virtio device (virtio 1.3, section 5) behind a transport. Control threads only, several at a time; what its queues do happens on reactors.
/// Disposing is idempotent; sessions were disposed before.
/// </summary>
public interface IVirtioDevice : IAsyncDisposable
{
    /// <summary>The virtio device id: 2 block, 8 SCSI host (section 5).</summary>
    uint DeviceId { get; }

    /// <summary>All feature bits that the device offers: its own, and those of the rings that it can serve (section 2.2).</summary>
    ulong OfferedFeatures { get; }

    /// <summary>The greatest number of virtqueues, all kinds together.</summary>
    int MaxQueueCount { get; }

    /// <summary>The greatest queue size, a power of two up to 32768.</summary>
    int MaxQueueSize { get; }

    /// <summary>Whether the driver's side depends on reading the configuration space from this device. A link that cannot carry it is refused.</summary>
    bool RequiresConfigAccess { get; }

    /// <summary>Length of the device-specific configuration space, in bytes.</summary>
    int ConfigLengthBytes { get; }

    /// <summary>Reads configuration space; bytes past its end read as 0.</summary>
    /// <param name="offsetBytes">Where to read.</param>
    /// <param name="destination">What to fill, wholly.</param>
    void ReadConfig(int offsetBytes, Span<byte> destination);

    /// <summary>Writes configuration space.</summary>
    /// <param name="offsetBytes">Where to write.</param>
    /// <param name="source">What to write.</param>
    /// <returns>False if the range holds a field that a driver may not write; nothing was written then.</returns>
    bool WriteConfig(int offsetBytes, ReadOnlySpan<byte> source);

    /// <summary>A front-end has connected. A transport has at most one session of a device open at a time.</summary>
    /// <param name="frontEnd">What the device may ask of the front-end.</param>
    IVirtioSession OpenSession(IFrontEnd frontEnd);
}
