namespace Vhost.BlockController;

/// <summary>What a queue asks of its controller. Called on reactors; never waits.</summary>
public interface ICommandQueueOwner
{
    /// <summary>Asks for a reset of the controller. The first reason counts.</summary>
    /// <param name="reason">What went wrong, for the log.</param>
    void RequestReset(string reason);
}
