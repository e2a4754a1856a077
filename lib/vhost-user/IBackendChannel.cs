namespace Vhost.VhostUser;

/// <summary>Carries requests of the back-end to the front-end.</summary>
public interface IBackendChannel : IDisposable
{
    /// <summary>Sends a request. Never blocks; any thread, one at a time.</summary>
    /// <param name="header">The header; its payload is empty.</param>
    /// <returns>False if the front-end does not take it.</returns>
    bool TrySend(MessageHeader header);
}
