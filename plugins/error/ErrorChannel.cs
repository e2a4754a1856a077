using Vhost.Abstractions;

namespace Vhost.Plugins.Error;

/// <summary>Disturbs the requests that a rule fits. Reactor thread only.</summary>
/// <param name="below">The bdev below.</param>
/// <param name="reactor">The reactor that owns the channel.</param>
/// <param name="completions">Takes the completions.</param>
/// <param name="rules">The rules, shared with the other channels.</param>
/// <param name="seed">Begins the choices.</param>
internal sealed class ErrorChannel(IBdevPort below, IReactor reactor, IBdevCompletions completions, ErrorRule[] rules, int seed)
    : WrappingChannel(below, reactor, completions)
{
    private const ulong CorruptMark = 1;

    private readonly Random _random = new(seed);
    private readonly List<BlockRequestPointer> _failed = [];
    private readonly HashSet<nint> _hanging = [];

    /// <inheritdoc/>
    protected override unsafe bool Intercept(BlockRequestPointer request)
    {
        request.Value.BdevScratch[1] = 0;
        foreach (var rule in rules)
        {
            if (!rule.Takes(request.Value, _random))
            {
                continue;
            }

            switch (rule.Action)
            {
                case ErrorAction.Fail:
                    request.Value.Status = rule.Status;
                    _failed.Add(request);
                    return true;
                case ErrorAction.Hang:
                    _hanging.Add((nint)request.Pointer);
                    return true;
                default:
                    if (request.Value.Operation is not BlockOperation.Read)
                    {
                        // The guest's data is wrong while it is written and right again afterwards.
                        Invert(ref request.Value);
                    }

                    request.Value.BdevScratch[1] = CorruptMark;
                    return false;
            }
        }

        return false;
    }

    /// <inheritdoc/>
    protected override void AfterSubmit()
    {
        if (_failed.Count > 0)
        {
            var failed = _failed.ToArray();
            _failed.Clear();
            Complete(failed);
        }
    }

    /// <inheritdoc/>
    protected override bool Keep(BlockRequestPointer request)
    {
        if (request.Value.BdevScratch[1] == CorruptMark)
        {
            Invert(ref request.Value);
        }

        return false;
    }

    /// <inheritdoc/>
    protected override unsafe void AbortKept(BlockRequestPointer request)
    {
        if (_hanging.Remove((nint)request.Pointer))
        {
            request.Value.Status = BlockStatus.Aborted;
            Complete([request]);
        }
    }

    // SAFETY: the request is under way, so its segments are leased to it.
    private static unsafe void Invert(ref BlockRequest request)
    {
        for (var i = 0; i < request.SegmentCount; i++)
        {
            if (request.Segments[i].LengthBytes != 0)
            {
                request.Segments[i].Address[0] ^= 0xff;
                return;
            }
        }
    }
}
