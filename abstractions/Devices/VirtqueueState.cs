namespace Vhost.Abstractions;

/// <summary>
/// Where a queue stands. Split: <see cref="NextAvailable"/> and <see cref="NextUsed"/> are free-running 16-bit indexes. Packed: each is
/// a 15-bit ring position with the wrap counter in bit 15.
/// </summary>
/// <param name="NextAvailable">The next entry that the device will take.</param>
/// <param name="NextUsed">The next entry that the device will give back.</param>
public readonly record struct VirtqueueState(ushort NextAvailable, ushort NextUsed);
