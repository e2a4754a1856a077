using Vhost.Abstractions;
using Vhost.Host.Reactors;

namespace Vhost.Host.Bdevs;

/// <summary>
/// A user's channel of a port, on one reactor. It stays while bdevs come and go; the channel into the bdev that is there now is a
/// <see cref="ChannelBinding"/>. Reactor thread only, but for the counters.
/// </summary>
internal sealed unsafe partial class PortChannel : IBdevChannel, IDeferredWork
{
    // A bdev that completes at once and a user that submits at every completion could keep a reactor for ever; the rest waits a turn.
    private const int MaxRoundsPerSubmit = 4;

    private readonly BdevPort _port;
    private readonly ChannelGroup? _owner;
    private readonly RequestRing? _ring;
    private readonly IBdevCompletions _completions;
    private ChannelBinding? _binding;
    private BlockRequestPointer[] _queue = new BlockRequestPointer[64];
    private BlockRequestPointer[] _queueRunning = new BlockRequestPointer[64];
    private BlockRequestPointer[] _finished = new BlockRequestPointer[64];
    private BlockRequestPointer[] _finishedDelivered = new BlockRequestPointer[64];
    private int _queueCount;
    private int _finishedCount;
    private int _depth;
    private bool _isDeferred;
    private bool _isReleaseWanted;
    private bool _isDisposed;

    /// <summary>Read by other threads; written here and by the binding.</summary>
    internal ChannelCounters Counters;

    internal PortChannel(BdevPort port, IReactor reactor, IBdevCompletions completions, ChannelGroup? owner)
    {
        _port = port;
        _owner = owner;
        _ring = owner is null ? null : new RequestRing();
        Reactor = reactor;
        _completions = completions;
        Counters.ResetExtremes();
        Rebind();
    }

    /// <inheritdoc/>
    public string Name => $"bdev {_port.Name}";

    internal IReactor Reactor { get; }

    /// <summary>Whether the user or the bdev is on the stack, so that neither may be called into.</summary>
    internal bool IsBusy => _depth > 0;

    /// <inheritdoc/>
    public void Submit(ReadOnlySpan<BlockRequestPointer> requests)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        foreach (var request in requests)
        {
            if (request.Pointer->HostState != RequestState.Idle)
            {
                throw new InvalidOperationException($"bdev {_port.Name}: a request was submitted again before it was completed");
            }
        }

        if (_depth > 0)
        {
            Enqueue(requests);
            return;
        }

        SubmitNow(requests);
        for (var round = 1; _queueCount > 0 && round < MaxRoundsPerSubmit; round++)
        {
            SubmitQueued();
        }

        if (_queueCount > 0)
        {
            DeferOnce();
        }
    }

    /// <inheritdoc/>
    public void Abort(BlockRequestPointer request)
    {
        switch (request.Pointer->HostState)
        {
            case RequestState.Waiting:
                if (!RemoveQueued(request) && !RemoveThrottled(request) && _binding?.RemoveHeld(request) != true)
                {
                    return;
                }

                Finish(request.Pointer, BlockStatus.Aborted);
                DeferOnce();
                break;
            case RequestState.UnderWay or RequestState.UnderWayAwaited or RequestState.Emulated:
                _binding?.Abort(request);
                break;
            default:
                break;
        }
    }

    /// <inheritdoc/>
    public void ReleaseHeld()
    {
        if (_isDisposed || (_throttle is null && _queueCount == 0 && _binding is null))
        {
            return;
        }

        // Also a bdev that wraps another may have its requests held back below.
        _isReleaseWanted = true;
        if (_depth > 0)
        {
            DeferOnce();
            return;
        }

        if (_queueCount > 0)
        {
            SubmitQueued();
        }

        ReleaseAllHeld();
        DeliverFinished();
        if (_queueCount > 0 || _finishedCount > 0)
        {
            DeferOnce();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_isDisposed)
        {
            return;
        }

        _isDisposed = true;
        _queueCount = 0;
        _finishedCount = 0;
        EndThrottle();
        _binding?.CloseNow();
        _binding = null;
        _port.Channels.Remove(this);
        _owner?.Remove(this);
    }

    /// <inheritdoc/>
    public void RunDeferred()
    {
        _isDeferred = false;
        if (_isDisposed)
        {
            return;
        }

        DeliverFinished();
        if (_queueCount > 0)
        {
            SubmitQueued();
        }

        if (_isReleaseWanted)
        {
            ReleaseAllHeld();
        }

        DeliverFinished();
        if (_queueCount > 0 || _finishedCount > 0)
        {
            DeferOnce();
        }
    }

    /// <summary>Comes back at the end of the turn, with neither bdev nor user on the stack.</summary>
    internal void DeferOnce()
    {
        if (_isDeferred)
        {
            return;
        }

        _isDeferred = true;
        if (Reactor is Reactor own)
        {
            own.Defer(this);
        }
        else
        {
            Reactor.Post(static state => ((PortChannel)state!).RunDeferred(), this);
        }
    }

    /// <summary>Ends a request that the bdev does not have; delivered by <see cref="DeliverFinished"/>.</summary>
    internal void Finish(BlockRequest* request, BlockStatus status)
    {
        request->Status = status;
        request->HostState = RequestState.Idle;
        if (status != BlockStatus.Success)
        {
            Counters.CountFailure(status);
            RecordFailure(request, 0);
        }

        if (_finishedCount == _finished.Length)
        {
            Array.Resize(ref _finished, _finishedCount * 2);
        }

        _finished[_finishedCount++] = new BlockRequestPointer(request);
    }

    /// <summary>Gives the user what <see cref="Finish"/> gathered.</summary>
    internal void DeliverFinished()
    {
        if (_finishedCount == 0 || _depth > 0)
        {
            return;
        }

        (_finished, _finishedDelivered) = (_finishedDelivered, _finished);
        var count = _finishedCount;
        _finishedCount = 0;
        Deliver(new ReadOnlySpan<BlockRequestPointer>(_finishedDelivered, 0, count));
    }

    /// <summary>Gives completed requests to the user: one call a batch.</summary>
    internal void Deliver(ReadOnlySpan<BlockRequestPointer> requests)
    {
        if (_isDisposed)
        {
            return;
        }

        _depth++;
        try
        {
            _completions.OnCompleted(requests);
        }
        catch (Exception exception)
        {
            // The bdev up the stack is not to blame, and goes on.
            _port.ReportUserFault(exception);
        }
        finally
        {
            _depth--;
        }

        // In a call by the bdev's own poller nobody up the stack takes care of what the user submitted.
        if (_queueCount > 0 && _depth == 0)
        {
            DeferOnce();
        }
    }

    /// <summary>The bdev's channel is called from now on until <see cref="LeaveBdev"/>.</summary>
    internal void EnterBdev() => _depth++;

    /// <summary>See <see cref="EnterBdev"/>.</summary>
    internal void LeaveBdev() => _depth--;

    /// <summary>The binding has closed itself.</summary>
    internal void OnBindingClosed(ChannelBinding binding)
    {
        if (ReferenceEquals(_binding, binding))
        {
            _binding = null;
        }
    }

    private void SubmitNow(ReadOnlySpan<BlockRequestPointer> requests)
    {
        if (!ReferenceEquals(_port.Settings, _settings) || !ReferenceEquals(_port.Channels.Histogram, _meter?.Settings) || !ReferenceEquals(_owner?.Histogram, _ownerHistogram)
            || (_owner is { TracesRequests: true }) != (_trace is not null))
        {
            FollowSettings();
        }

        var binding = GetBinding();
        if (binding is null)
        {
            foreach (var request in requests)
            {
                Finish(request.Pointer, BlockStatus.NoDevice);
            }
        }
        else if (_throttle is { } throttle)
        {
            SubmitThrottled(binding, throttle, requests);
        }
        else
        {
            binding.Submit(requests, Now);
        }

        DeliverFinished();
    }

    private ChannelBinding? GetBinding()
    {
        var binding = _binding;
        return binding is not null && ReferenceEquals(binding.Attachment, _port.Attachment) ? binding : Rebind();
    }

    private void SubmitQueued()
    {
        (_queue, _queueRunning) = (_queueRunning, _queue);
        var count = _queueCount;
        _queueCount = 0;
        var batch = new ReadOnlySpan<BlockRequestPointer>(_queueRunning, 0, count);
        foreach (var request in batch)
        {
            request.Pointer->HostState = RequestState.Idle;
        }

        SubmitNow(batch);
    }

    private ChannelBinding? Rebind()
    {
        if (_binding is { IsOpen: true })
        {
            // The former bdev is being withdrawn and still has requests; its binding closes itself when they are back.
            _binding.CloseWhenIdle();
            _binding = null;
        }

        var attachment = _port.Attachment;
        _binding = attachment is null ? null : ChannelBinding.Open(this, attachment);
        return _binding;
    }

    private void Enqueue(ReadOnlySpan<BlockRequestPointer> requests)
    {
        if (_queueCount + requests.Length > _queue.Length)
        {
            Array.Resize(ref _queue, Math.Max(_queue.Length * 2, _queueCount + requests.Length));
        }

        foreach (var request in requests)
        {
            request.Pointer->HostState = RequestState.Waiting;
            _queue[_queueCount++] = request;
        }
    }

    private bool RemoveQueued(BlockRequestPointer request)
    {
        for (var i = 0; i < _queueCount; i++)
        {
            if (_queue[i].Pointer == request.Pointer)
            {
                _queue.AsSpan(i + 1, _queueCount - i - 1).CopyTo(_queue.AsSpan(i));
                _queueCount--;
                return true;
            }
        }

        return false;
    }
}
