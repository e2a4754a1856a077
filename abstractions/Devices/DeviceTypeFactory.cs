namespace Vhost.Abstractions;

/// <summary>The typed base of <see cref="IDeviceTypeFactory"/>.</summary>
/// <typeparam name="TOptions">The device's options.</typeparam>
public abstract class DeviceTypeFactory<TOptions> : PartFactory<TOptions>, IDeviceTypeFactory
    where TOptions : class, new()
{
    /// <inheritdoc/>
    public virtual bool AllowsSharedBdevs => false;

    /// <inheritdoc/>
    public IReadOnlyList<BdevReference> GetBdevReferences(object options) => GetBdevReferences((TOptions)options);

    /// <inheritdoc/>
    public IVirtioDevice Create(DeviceContext context, object options) => Create(context, (TOptions)options);

    /// <summary>See <see cref="IDeviceTypeFactory.GetBdevReferences"/>.</summary>
    /// <param name="options">Valid options.</param>
    protected abstract IReadOnlyList<BdevReference> GetBdevReferences(TOptions options);

    /// <summary>See <see cref="IDeviceTypeFactory.Create"/>.</summary>
    /// <param name="context">What the host gives the device.</param>
    /// <param name="options">Valid options.</param>
    protected abstract IVirtioDevice Create(DeviceContext context, TOptions options);
}
