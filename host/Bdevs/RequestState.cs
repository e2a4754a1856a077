namespace Vhost.Host.Bdevs;

/// <summary>Values of <see cref="Abstractions.BlockRequest.HostState"/>.</summary>
internal static class RequestState
{
    /// <summary>The request belongs to its submitter.</summary>
    internal const byte Idle = 0;

    /// <summary>The bdev has it.</summary>
    internal const byte UnderWay = 1;

    /// <summary>The bdev has it, and a compare-and-write waits for it.</summary>
    internal const byte UnderWayAwaited = 2;

    /// <summary>The host keeps it for later.</summary>
    internal const byte Waiting = 3;

    /// <summary>The host does it by other operations.</summary>
    internal const byte Emulated = 4;

    /// <summary>It is one of those other operations: memory of the host, under way at the bdev.</summary>
    internal const byte Internal = 5;
}
