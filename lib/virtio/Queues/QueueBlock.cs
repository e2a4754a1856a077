namespace Vhost.Virtio;

/// <summary>Why a queue takes no requests from its ring.</summary>
[Flags]
internal enum QueueBlock : byte
{
    /// <summary>It does.</summary>
    None = 0,

    /// <summary>The handler paused it.</summary>
    Paused = 1,

    /// <summary>Its ring is invalid.</summary>
    Broken = 2,

    /// <summary>It is being stopped.</summary>
    Stopping = 4,

    /// <summary>It waits for its requests under way, to be moved.</summary>
    Draining = 8,
}
