namespace Vhost.Pci;

/// <summary>Memory that a device can reach. Dispose it after the device was stopped or no longer knows its address.</summary>
/// <param name="address">First byte in this process.</param>
/// <param name="iova">The device's address of the first byte; consecutive only if it was asked for.</param>
/// <param name="lengthBytes">Length.</param>
public abstract class DmaMemory(nint address, ulong iova, nuint lengthBytes) : IDisposable
{
    /// <summary>First byte in this process.</summary>
    public nint Address { get; } = address;

    /// <summary>The device's address of the first byte.</summary>
    public ulong Iova { get; } = iova;

    /// <summary>Length in bytes.</summary>
    public nuint LengthBytes { get; } = lengthBytes;

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Unmaps and frees.</summary>
    /// <param name="disposing">Always true: there is no finalizer, since only the driver knows when the device has stopped.</param>
    protected abstract void Dispose(bool disposing);
}
