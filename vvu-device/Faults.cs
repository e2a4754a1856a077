namespace Vhost.VvuDevice;

/// <summary>The driver broke the rules of virtio; the device needs a reset.</summary>
/// <param name="reason">What it did.</param>
internal sealed class DriverFault(string reason) : Exception(reason);

/// <summary>The other VM broke the rules of vhost-user, or asks for what this device does not carry; its connection is closed.</summary>
/// <param name="reason">What it did.</param>
internal sealed class MasterFault(string reason) : Exception(reason);
