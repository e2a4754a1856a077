namespace Vhost.Abstractions;

/// <summary>
/// A named place for a bdev, as a device type or a wrapping source sees it. The bdev may appear, change and disappear while the port
/// stays. The host checks every request at the port, counts it, and emulates what the bdev lacks.
/// </summary>
public interface IBdevPort
{
    /// <summary>The bdev's name.</summary>
    string Name { get; }

    /// <summary>What is there now, with the operations that the host emulates; null while there is nothing. Any thread.</summary>
    BdevInfo? Info { get; }

    /// <summary>
    /// Opens a channel. It stays valid while the bdev comes and goes: requests meet <see cref="BlockStatus.NoDevice"/> in between.
    /// Called and used on the reactor's thread only.
    /// </summary>
    /// <param name="reactor">The reactor that owns the channel.</param>
    /// <param name="completions">Takes the completions, on the reactor's thread.</param>
    IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions);

    /// <summary>Observes the port from now on. Control threads only.</summary>
    /// <param name="observer">Is told after <see cref="Info"/> changed.</param>
    /// <returns>Ends the observation when disposed.</returns>
    IDisposable Subscribe(IBdevObserver observer);
}
