using Vhost.Abstractions;

namespace Vhost.Host.Bdevs;

/// <summary>A port as one controller has it: what goes through its channels is counted for the controller too. Costs nothing on the data path.</summary>
/// <param name="port">The port.</param>
/// <param name="user">The controller.</param>
internal sealed class UserPort(BdevPort port, string user) : IBdevPort
{
    /// <inheritdoc/>
    public string Name => port.Name;

    /// <inheritdoc/>
    public BdevInfo? Info => port.Info;

    /// <inheritdoc/>
    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions) => port.OpenChannel(reactor, completions, user);

    /// <inheritdoc/>
    public IDisposable Subscribe(IBdevObserver observer) => port.Subscribe(observer);
}
