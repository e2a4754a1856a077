namespace Vhost.Abstractions;

/// <summary>Creates transports. Export it with <see cref="ExportTransportAttribute"/>; derive from <see cref="TransportFactory{TOptions}"/>.</summary>
public interface ITransportFactory : IPartFactory
{
    /// <summary>What a transport with these options occupies alone: a socket path, a PCI address. Two transports with the same endpoint are an error.</summary>
    /// <param name="options">Valid options.</param>
    string GetEndpoint(object options);

    /// <summary>Creates a transport. It does nothing before <see cref="ITransport.StartAsync"/>.</summary>
    /// <param name="context">What the host gives the transport.</param>
    /// <param name="options">Valid options.</param>
    ITransport Create(TransportContext context, object options);
}
