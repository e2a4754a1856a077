namespace Vhost.Pci;

/// <summary>
/// A memory BAR. Accesses are single, volatile, of the stated width and in program order; any thread, though registers of one queue belong to
/// one. Offsets are checked against the BAR's length. Mapped where the platform can, else trapped: correct, and slow.
/// </summary>
public abstract class PciBar
{
    /// <summary>The BAR's index.</summary>
    public abstract int Index { get; }

    /// <summary>Length in bytes.</summary>
    public abstract ulong LengthBytes { get; }

    /// <summary>Physical address as this machine sees it, or 0 where that means nothing (vfio-user).</summary>
    public abstract ulong PhysicalAddress { get; }

    /// <summary>Maps a part of the BAR for direct access (the memory of a vvu device), or returns 0 where it cannot be mapped. Lives as long as the device.</summary>
    /// <param name="offsetBytes">Start, a multiple of 4096.</param>
    /// <param name="lengthBytes">Length, a multiple of 4096.</param>
    public abstract nint TryMap(ulong offsetBytes, ulong lengthBytes);

    /// <summary>
    /// Leaves what <see cref="TryMap"/> mapped in place when the device is closed, for good: a request that never ended may still use it.
    /// The kernel may hold the device until this process ends.
    /// </summary>
    public abstract void KeepMappings();

    /// <summary>Reads 8 bits.</summary>
    /// <param name="offsetBytes">Where.</param>
    public abstract byte Read8(ulong offsetBytes);

    /// <summary>Reads 16 bits.</summary>
    /// <param name="offsetBytes">Where; a multiple of 2.</param>
    public abstract ushort Read16(ulong offsetBytes);

    /// <summary>Reads 32 bits.</summary>
    /// <param name="offsetBytes">Where; a multiple of 4.</param>
    public abstract uint Read32(ulong offsetBytes);

    /// <summary>Reads 64 bits, in one access where the platform can, else the lower half first.</summary>
    /// <param name="offsetBytes">Where; a multiple of 8.</param>
    public abstract ulong Read64(ulong offsetBytes);

    /// <summary>Writes 8 bits.</summary>
    /// <param name="offsetBytes">Where.</param>
    /// <param name="value">What.</param>
    public abstract void Write8(ulong offsetBytes, byte value);

    /// <summary>Writes 16 bits.</summary>
    /// <param name="offsetBytes">Where; a multiple of 2.</param>
    /// <param name="value">What.</param>
    public abstract void Write16(ulong offsetBytes, ushort value);

    /// <summary>Writes 32 bits. Stores to memory that come before it in program order are visible to the device before it.</summary>
    /// <param name="offsetBytes">Where; a multiple of 4.</param>
    /// <param name="value">What.</param>
    public abstract void Write32(ulong offsetBytes, uint value);

    /// <summary>Writes 64 bits, in one access where the platform can, else the lower half first.</summary>
    /// <param name="offsetBytes">Where; a multiple of 8.</param>
    /// <param name="value">What.</param>
    public abstract void Write64(ulong offsetBytes, ulong value);
}
