namespace Vhost.Host.Bdevs;

/// <summary>What was set for a port while it runs. Immutable: a change is another object, which each channel takes up with its next batch.</summary>
/// <param name="Qos">The limits, or null for none.</param>
/// <param name="ExtremesVersion">Counted up where the longest and shortest latencies begin anew.</param>
internal sealed record PortSettings(QosLimiter? Qos, int ExtremesVersion)
{
    internal static PortSettings Default { get; } = new(null, 0);
}
