namespace Vhost.BlockController;

/// <summary>Whether the requests of a <see cref="CommandQueue"/> flow, wait, or fail.</summary>
public enum QueueState
{
    /// <summary>New requests wait: the controller is being set up or reset.</summary>
    Frozen,

    /// <summary>Requests flow.</summary>
    Running,

    /// <summary>Requests fail at once.</summary>
    Dead,
}
