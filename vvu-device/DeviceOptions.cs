namespace Vhost.VvuDevice;

/// <summary>What the command line says.</summary>
/// <param name="VfioUserSocket">Socket for the appliance's QEMU.</param>
/// <param name="VhostUserSocket">Socket for the other VM's QEMU.</param>
/// <param name="MemoryPath">The other VM's memory, or null.</param>
/// <param name="MemoryBytes">Its length.</param>
/// <param name="Layout">Which device to be.</param>
/// <param name="IsPublishedOnly">Whether to offer nothing that the published devices do not.</param>
/// <param name="HasInterruptLine">Whether it has an interrupt pin beside MSI-X.</param>
internal sealed record DeviceOptions(string VfioUserSocket, string VhostUserSocket, string? MemoryPath, ulong MemoryBytes, DeviceLayout Layout, bool IsPublishedOnly = false, bool HasInterruptLine = true);
