namespace Vhost.Abstractions;

/// <summary>
/// A block device that a source publishes. It implements one of two levels: <see cref="IChannelBdev"/> (per-reactor channels, batches, no
/// allocation) or <see cref="SimpleBdev"/> (override read, write, flush; the host does the rest).
/// </summary>
public interface IBdev
{
    /// <summary>The name that manifests and RPC use: <c>[A-Za-z0-9._-]+</c>.</summary>
    string Name { get; }

    /// <summary>A snapshot; read on any thread. After it changed, the source calls <see cref="IBdevPublisher.NotifyChanged"/>.</summary>
    BdevInfo Info { get; }
}
