using System.Runtime.InteropServices;

namespace Vhost.Abstractions;

/// <summary>
/// A channel of a bdev that wraps another. A request goes down as a copy, because below it is under way a second time; its data is not copied. A derived class
/// may keep requests from going down, and results from going up. Reactor thread only; allocates only while more requests are under way than ever before.
/// </summary>
// SAFETY: copies live in native memory of this channel, which is freed after the channel below was disposed: from then on nothing touches them. A request knows its
// copy by its BdevScratch[0], and the copy the request by its SubmitterContext.
public abstract unsafe class WrappingChannel : IBdevChannel, IBdevCompletions
{
    private const int CopiesPerChunk = 64;

    private readonly IBdevCompletions _above;
    private readonly IBdevChannel _below;
    private readonly List<nint> _chunks = [];
    private readonly Stack<nint> _free = new();
    private BlockRequestPointer[] _passed = new BlockRequestPointer[64];
    private BlockRequestPointer[]? _done = new BlockRequestPointer[64];
    private bool _isDisposed;

    /// <summary>Opens the channel below.</summary>
    /// <param name="below">The port of the bdev below.</param>
    /// <param name="reactor">The reactor that owns the channel.</param>
    /// <param name="above">Takes the completions.</param>
    protected WrappingChannel(IBdevPort below, IReactor reactor, IBdevCompletions above)
    {
        ArgumentNullException.ThrowIfNull(below);
        Reactor = reactor;
        _above = above;
        _below = below.OpenChannel(reactor, this);
    }

    /// <summary>The reactor that owns the channel.</summary>
    protected IReactor Reactor { get; }

    /// <inheritdoc/>
    public void Submit(ReadOnlySpan<BlockRequestPointer> requests)
    {
        if (_passed.Length < requests.Length)
        {
            _passed = new BlockRequestPointer[requests.Length];
        }

        var passed = _passed;
        var count = 0;
        foreach (var request in requests)
        {
            request.Pointer->BdevScratch[0] = 0;
            if (!Intercept(request))
            {
                passed[count++] = Copy(request.Pointer);
            }
        }

        if (count > 0)
        {
            _below.Submit(new ReadOnlySpan<BlockRequestPointer>(passed, 0, count));
        }

        AfterSubmit();
    }

    /// <inheritdoc/>
    public void Abort(BlockRequestPointer request)
    {
        var copy = (BlockRequest*)request.Pointer->BdevScratch[0];
        if (copy != null)
        {
            _below.Abort(new BlockRequestPointer(copy));
        }
        else
        {
            AbortKept(request);
        }
    }

    /// <inheritdoc/>
    public void ReleaseHeld() => _below.ReleaseHeld();

    /// <inheritdoc/>
    public void OnCompleted(ReadOnlySpan<BlockRequestPointer> requests)
    {
        if (_isDisposed)
        {
            return;
        }

        // Taken while the receiver runs, so that a batch that comes from within has another one.
        var done = _done ?? new BlockRequestPointer[requests.Length];
        _done = null;
        if (done.Length < requests.Length)
        {
            done = new BlockRequestPointer[requests.Length];
        }

        var count = 0;
        foreach (var copy in requests)
        {
            var request = (BlockRequest*)copy.Pointer->SubmitterContext;
            request->Status = copy.Pointer->Status;
            request->Information = copy.Pointer->Information;
            request->BdevScratch[0] = 0;
            _free.Push((nint)copy.Pointer);
            if (!Keep(new BlockRequestPointer(request)))
            {
                done[count++] = new BlockRequestPointer(request);
            }
        }

        if (count > 0)
        {
            Complete(new ReadOnlySpan<BlockRequestPointer>(done, 0, count));
        }

        _done = done;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_isDisposed)
        {
            return;
        }

        _isDisposed = true;
        OnDisposing();
        _below.Dispose();
        foreach (var chunk in _chunks)
        {
            NativeMemory.Free((void*)chunk);
        }

        _chunks.Clear();
        _free.Clear();
    }

    /// <summary>Decides whether a request goes down. By default it does.</summary>
    /// <param name="request">The request. Its <see cref="BlockRequest.BdevScratch"/> but for the first word is free to use.</param>
    /// <returns>True if it does not: the derived class completes it, but not from within this call.</returns>
    protected virtual bool Intercept(BlockRequestPointer request) => false;

    /// <summary>Called at the end of each <see cref="Submit"/>: what was intercepted may be completed from here.</summary>
    protected virtual void AfterSubmit()
    {
    }

    /// <summary>Decides whether a result goes up at once. By default it does.</summary>
    /// <param name="request">The request, with the result from below.</param>
    /// <returns>True if it does not: the derived class completes it later.</returns>
    protected virtual bool Keep(BlockRequestPointer request) => false;

    /// <summary>A request that the derived class has is to end early. By default it ends when it ends.</summary>
    /// <param name="request">The request.</param>
    protected virtual void AbortKept(BlockRequestPointer request)
    {
    }

    /// <summary>The channel is being closed: nothing is completed any more.</summary>
    protected virtual void OnDisposing()
    {
    }

    /// <summary>Completes requests that were intercepted or kept, with their status set.</summary>
    /// <param name="requests">The requests.</param>
    protected void Complete(ReadOnlySpan<BlockRequestPointer> requests) => _above.OnCompleted(requests);

    private BlockRequestPointer Copy(BlockRequest* request)
    {
        if (!_free.TryPop(out var address))
        {
            var chunk = (BlockRequest*)NativeMemory.AllocZeroed(CopiesPerChunk, (nuint)sizeof(BlockRequest));
            _chunks.Add((nint)chunk);
            for (var i = 1; i < CopiesPerChunk; i++)
            {
                _free.Push((nint)(chunk + i));
            }

            address = (nint)chunk;
        }

        var copy = (BlockRequest*)address;
        copy->Operation = request->Operation;
        copy->Flags = request->Flags;
        copy->StartBlock = request->StartBlock;
        copy->BlockCount = request->BlockCount;
        copy->Segments = request->Segments;
        copy->SegmentCount = request->SegmentCount;
        copy->SubmitterContext = (nint)request;
        request->BdevScratch[0] = (ulong)address;
        return new BlockRequestPointer(copy);
    }
}
