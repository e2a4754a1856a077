namespace Vhost.Abstractions;

/// <summary>The typed base of <see cref="ITransportFactory"/>.</summary>
/// <typeparam name="TOptions">The transport's options.</typeparam>
public abstract class TransportFactory<TOptions> : PartFactory<TOptions>, ITransportFactory
    where TOptions : class, new()
{
    /// <inheritdoc/>
    public string GetEndpoint(object options) => GetEndpoint((TOptions)options);

    /// <inheritdoc/>
    public ITransport Create(TransportContext context, object options) => Create(context, (TOptions)options);

    /// <summary>See <see cref="ITransportFactory.GetEndpoint"/>.</summary>
    /// <param name="options">Valid options.</param>
    protected abstract string GetEndpoint(TOptions options);

    /// <summary>See <see cref="ITransportFactory.Create"/>.</summary>
    /// <param name="context">What the host gives the transport.</param>
    /// <param name="options">Valid options.</param>
    protected abstract ITransport Create(TransportContext context, TOptions options);
}
