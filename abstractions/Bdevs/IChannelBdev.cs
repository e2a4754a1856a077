namespace Vhost.Abstractions;

/// <summary>The fast level of a bdev: each reactor that submits requests gets a channel of its own.</summary>
public interface IChannelBdev : IBdev
{
    /// <summary>Opens a channel. Called on the reactor's thread, so it must not block; may be called several times for one reactor.</summary>
    /// <param name="reactor">The reactor that owns the channel.</param>
    /// <param name="completions">Takes the completions, on the reactor's thread.</param>
    IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions);
}
