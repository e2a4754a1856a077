namespace Vhost.Virtio;

/// <summary>What an attempt to take a chain gave.</summary>
internal enum PopResult
{
    /// <summary>The ring is empty.</summary>
    Empty,

    /// <summary>A chain was taken; it may carry a fault.</summary>
    Taken,

    /// <summary>The chain stays in the ring until storage is free again.</summary>
    NoStorage,

    /// <summary>The ring is broken.</summary>
    Broken,
}
