namespace Vhost.Abstractions;

/// <summary>A poller's place in its reactor. Used and disposed on the reactor's thread only.</summary>
public interface IPollerRegistration : IDisposable
{
    /// <summary>Makes an armed poller active at once, without its descriptor: for instance because a request was just submitted whose completion it awaits.</summary>
    void Activate();
}
