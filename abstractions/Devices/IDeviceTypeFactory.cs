namespace Vhost.Abstractions;

/// <summary>Creates virtio devices. Export it with <see cref="ExportDeviceTypeAttribute"/>; derive from <see cref="DeviceTypeFactory{TOptions}"/>.</summary>
public interface IDeviceTypeFactory : IPartFactory
{
    /// <summary>Whether several controllers of this type may use the same bdev when its manifest entry says <c>"shared": true</c>.</summary>
    bool AllowsSharedBdevs { get; }

    /// <summary>The bdevs that the options refer to.</summary>
    /// <param name="options">Valid options.</param>
    IReadOnlyList<BdevReference> GetBdevReferences(object options);

    /// <summary>Creates a device. Control thread.</summary>
    /// <param name="context">What the host gives the device.</param>
    /// <param name="options">Valid options.</param>
    IVirtioDevice Create(DeviceContext context, object options);
}
