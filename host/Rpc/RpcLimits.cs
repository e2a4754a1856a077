namespace Vhost.Host.Rpc;

/// <summary>What a client may take of the process.</summary>
internal sealed record RpcLimits
{
    /// <summary>The longest request or batch.</summary>
    internal int RequestBytes { get; init; } = 1 << 20;

    /// <summary>The longest reply, all of a batch together.</summary>
    internal int ReplyBytes { get; init; } = 32 << 20;

    /// <summary>How many clients may be connected.</summary>
    internal int Connections { get; init; } = 64;

    /// <summary>After how much time without a request a client makes room for another one, when all places are taken.</summary>
    internal TimeSpan Idle { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long a client may take to send the rest of a request.</summary>
    internal TimeSpan Receive { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long a client may take to read a reply.</summary>
    internal TimeSpan Send { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long a client that is cut off may take to stop sending, so that it gets to read why.</summary>
    internal TimeSpan Linger { get; init; } = TimeSpan.FromSeconds(2);
}
