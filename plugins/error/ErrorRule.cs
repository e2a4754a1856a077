using Vhost.Abstractions;

namespace Vhost.Plugins.Error;

/// <summary>One rule and what it has done so far. Any reactor.</summary>
/// <param name="options">The rule.</param>
internal sealed class ErrorRule(ErrorRuleOptions options)
{
    private readonly ulong _start = (ulong)options.StartBlock;
    private readonly ulong _count = options.BlockCount == 0 ? ulong.MaxValue - (ulong)options.StartBlock : (ulong)options.BlockCount;
    private readonly bool _hasRange = options.StartBlock != 0 || options.BlockCount != 0;
    private long _fitting;
    private long _chosen;

    /// <summary>What it is.</summary>
    internal ErrorRuleOptions Options => options;

    /// <summary>How a request fails.</summary>
    internal BlockStatus Status { get; } = options.Status switch
    {
        ErrorStatus.NoSpace => BlockStatus.NoSpace,
        ErrorStatus.TimedOut => BlockStatus.TimedOut,
        ErrorStatus.Busy => BlockStatus.Busy,
        ErrorStatus.ReadOnly => BlockStatus.ReadOnly,
        ErrorStatus.Unsupported => BlockStatus.Unsupported,
        _ => BlockStatus.IoError,
    };

    /// <summary>How many requests it has disturbed.</summary>
    internal long DisturbedCount => options.Count == 0 ? Interlocked.Read(ref _chosen) : Math.Min(Interlocked.Read(ref _chosen), options.Count);

    /// <summary>Whether it disturbs a request.</summary>
    /// <param name="request">The request.</param>
    /// <param name="underWay">How many requests of the channel are under way below.</param>
    /// <param name="random">The channel's choices.</param>
    internal bool Takes(in BlockRequest request, int underWay, Random random)
    {
        if (underWay < options.QueueDepth || !Fits(request) || (_hasRange && !Overlaps(request)))
        {
            return false;
        }

        if (options.Skip != 0 && Interlocked.Increment(ref _fitting) <= options.Skip)
        {
            return false;
        }

        if (options.Percent < 100 && random.NextDouble() * 100 >= options.Percent)
        {
            return false;
        }

        return Interlocked.Increment(ref _chosen) <= options.Count || options.Count == 0;
    }

    private bool Fits(in BlockRequest request) => options.Operation switch
    {
        ErrorOperation.Read => request.Operation is BlockOperation.Read or BlockOperation.Compare,
        ErrorOperation.Write => request.Operation is BlockOperation.Write or BlockOperation.WriteZeroes or BlockOperation.CompareAndWrite,
        ErrorOperation.Flush => request.Operation == BlockOperation.Flush || (request.Flags & BlockRequestFlags.ForceUnitAccess) != 0,
        ErrorOperation.Discard => request.Operation == BlockOperation.Discard,
        _ => true,
    };

    private bool Overlaps(in BlockRequest request) =>
        request.Operation != BlockOperation.Flush
        && (request.StartBlock >= _start ? request.StartBlock - _start < _count : request.BlockCount > _start - request.StartBlock);
}
