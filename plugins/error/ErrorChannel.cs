using Vhost.Abstractions;

namespace Vhost.Plugins.Error;

/// <summary>Disturbs the requests that a rule fits. Reactor thread only, unless a member says otherwise.</summary>
/// <param name="bdev">Has the rules, which channels share.</param>
/// <param name="below">The bdev below.</param>
/// <param name="reactor">The reactor that owns the channel.</param>
/// <param name="completions">Takes the completions.</param>
/// <param name="seed">Begins the choices.</param>
internal sealed class ErrorChannel(ErrorBdev bdev, IBdevPort below, IReactor reactor, IBdevCompletions completions, int seed)
    : WrappingChannel(below, reactor, completions)
{
    // A request that is to be corrupted bears the bits that are inverted, never none, and above them which byte.
    private const int OffsetShift = 8;

    private readonly Random _random = new(seed);
    private readonly List<BlockRequestPointer> _failed = [];
    private readonly Dictionary<nint, ErrorRule> _hanging = [];
    private int _underWay;
    private bool _isDisposed;

    /// <summary>Ends what hangs by a rule that is gone, as failed. Any thread.</summary>
    internal void PostEndOrphans() => Reactor.Post(static state => ((ErrorChannel)state!).EndOrphans(), this);

    /// <inheritdoc/>
    protected override unsafe bool Intercept(BlockRequestPointer request)
    {
        request.Value.BdevScratch[1] = 0;
        foreach (var rule in bdev.Rules)
        {
            if (!rule.Takes(request.Value, _underWay, _random))
            {
                continue;
            }

            switch (rule.Options.Action)
            {
                case ErrorAction.Fail:
                    request.Value.Status = rule.Status;
                    _failed.Add(request);
                    return true;
                case ErrorAction.Hang:
                    _hanging[(nint)request.Pointer] = rule;
                    return true;
                default:
                    request.Value.BdevScratch[1] = ((ulong)rule.Options.CorruptOffset << OffsetShift) | (byte)rule.Options.CorruptMask;
                    if (request.Value.Operation is not BlockOperation.Read)
                    {
                        // The guest's data is wrong while it is written and right again afterwards.
                        Invert(ref request.Value);
                    }

                    _underWay++;
                    return false;
            }
        }

        _underWay++;
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
        _underWay--;
        if (request.Value.BdevScratch[1] != 0)
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

    /// <inheritdoc/>
    protected override void OnDisposing()
    {
        _isDisposed = true;
        bdev.Remove(this);
    }

    private unsafe void EndOrphans()
    {
        if (_isDisposed || _hanging.Count == 0)
        {
            return;
        }

        var rules = bdev.Rules;
        BlockRequestPointer[] orphans = [.. _hanging.Where(pair => !rules.Contains(pair.Value)).Select(pair => new BlockRequestPointer((BlockRequest*)pair.Key))];
        foreach (var orphan in orphans)
        {
            _hanging.Remove((nint)orphan.Pointer);
            orphan.Value.Status = BlockStatus.IoError;
        }

        if (orphans.Length > 0)
        {
            Complete(orphans);
        }
    }

    // SAFETY: the request is under way, so its segments are leased to it.
    private static unsafe void Invert(ref BlockRequest request)
    {
        var offset = (nuint)(request.BdevScratch[1] >> OffsetShift);
        for (var i = 0; i < request.SegmentCount; i++)
        {
            if (offset < request.Segments[i].LengthBytes)
            {
                request.Segments[i].Address[offset] ^= (byte)request.BdevScratch[1];
                return;
            }

            offset -= request.Segments[i].LengthBytes;
        }
    }
}
