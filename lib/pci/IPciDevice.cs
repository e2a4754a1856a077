namespace Vhost.Pci;

/// <summary>
/// A PCI function that this process drives. Control threads only, except for the BARs and the DMA domain, which say so themselves.
/// Disposing resets the device, ends its DMA, and only then releases memory that it could reach.
/// </summary>
public interface IPciDevice : IDisposable
{
    /// <summary>What the user gave: <c>dddd:bb:dd.f</c> or the path of a vfio-user socket.</summary>
    string Address { get; }

    /// <summary>Vendor, device and class, as configuration space shows them.</summary>
    PciIdentity Identity { get; }

    /// <summary>Length of configuration space: 256 or 4096 bytes.</summary>
    int ConfigLengthBytes { get; }

    /// <summary>Reads configuration space, little-endian as it lies there.</summary>
    /// <param name="offsetBytes">Where to read.</param>
    /// <param name="destination">What to fill, wholly.</param>
    /// <exception cref="PciException">Outside configuration space, or the device is gone.</exception>
    void ReadConfig(int offsetBytes, Span<byte> destination);

    /// <summary>Writes configuration space.</summary>
    /// <param name="offsetBytes">Where to write.</param>
    /// <param name="source">What to write.</param>
    /// <exception cref="PciException">Outside configuration space, or the device is gone.</exception>
    void WriteConfig(int offsetBytes, ReadOnlySpan<byte> source);

    /// <summary>Opens a memory BAR. The same object is returned each time; it lives as long as the device.</summary>
    /// <param name="index">0 to 5; of a 64-bit BAR the lower index.</param>
    /// <exception cref="PciException">There is no such memory BAR.</exception>
    PciBar OpenBar(int index);

    /// <summary>Memory that the device can reach, and the addresses by which it does.</summary>
    IDmaDomain Dma { get; }

    /// <summary>How many interrupt vectors the device can be given: of MSI-X, else of MSI, else 1 for INTx, else 0: then it must be polled.</summary>
    int InterruptVectorCount { get; }

    /// <summary>Whether the interrupt is a level-triggered INTx line: the driver must silence the device, then call <see cref="UnmaskInterrupt"/>.</summary>
    bool IsLevelTriggered { get; }

    /// <summary>Enables the first vectors. Each signals an eventfd of the device's; a second call replaces the first.</summary>
    /// <param name="count">0 (disable) to <see cref="InterruptVectorCount"/>.</param>
    /// <returns>The eventfds by vector, owned by the device.</returns>
    /// <exception cref="PciException">The kernel or the device refused.</exception>
    IReadOnlyList<int> EnableInterrupts(int count);

    /// <summary>Lets a level-triggered interrupt come again. Any thread; a short system call.</summary>
    void UnmaskInterrupt();

    /// <summary>
    /// Lets the device start DMA, or stops it. A driver resets the device before it lets it start for the first time, by its registers where
    /// <see cref="TryReset"/> could not: an earlier process's requests must be gone, and its memory is freed now.
    /// </summary>
    /// <param name="enabled">Whether the device may.</param>
    void SetBusMastering(bool enabled);

    /// <summary>Resets the function where the platform can; false if it cannot (the driver then resets by its registers).</summary>
    bool TryReset();

    /// <summary>
    /// Cancelled when the device was removed or its process died. Register accesses read as all ones then, writes vanish, and no method blocks.
    /// </summary>
    CancellationToken Removed { get; }
}
