namespace Vhost.Virtio;

/// <summary>Where a slot is in its life.</summary>
internal enum VirtioRequestState : byte
{
    /// <summary>In the free list.</summary>
    Free = 0,

    /// <summary>With the handler.</summary>
    UnderWay = 1,

    /// <summary>Completed, not yet in the used ring.</summary>
    Completed = 2,
}
