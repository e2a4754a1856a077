using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Host.Observability;
using Vhost.Host.Reactors;

namespace Vhost.Host.Bdevs;

/// <summary>
/// A <see cref="PortChannel"/>'s channel into one bdev: checks what goes down, keeps a table of what is under way, and takes completions. A
/// completion that is not in the table (late, or a second one) is dropped. Reactor thread only.
/// </summary>
internal sealed unsafe partial class ChannelBinding : IBdevCompletions, IDeferredWork
{
    private readonly PortChannel _channel;
    private IBdevChannel? _inner;

    // What is under way. A request knows its place by the lower half of HostScratch[0], which submission it
    // is by the upper one, and by HostScratch[1] when that was.
    private nint[] _places;
    private int[] _freePlaces;
    private int _freeCount;
    private int _outstanding;
    private ushort _generation;
    private BlockRequestPointer[] _sorted = new BlockRequestPointer[64];
    private bool _isClosing;
    private bool _isStrayReported;

    private ChannelBinding(PortChannel channel, BdevAttachment attachment)
    {
        _channel = channel;
        Attachment = attachment;
        _places = new nint[64];
        _freePlaces = new int[64];
        for (var i = 0; i < _places.Length; i++)
        {
            _freePlaces[_freeCount++] = _places.Length - 1 - i;
        }
    }

    internal BdevAttachment Attachment { get; }

    /// <summary>Whether completions still count.</summary>
    internal bool IsOpen { get; private set; } = true;

    /// <summary>Opens a channel into the bdev, or returns null if that was withdrawn meanwhile. A bdev that throws is quarantined.</summary>
    internal static ChannelBinding? Open(PortChannel channel, BdevAttachment attachment)
    {
        var binding = new ChannelBinding(channel, attachment);
        channel.EnterBdev();
        try
        {
            binding._inner = attachment.Channels.OpenChannel(channel.Reactor, binding);
        }
        catch (Exception exception)
        {
            attachment.Quarantine("it failed to open a channel", exception);
        }
        finally
        {
            channel.LeaveBdev();
        }

        if (attachment.TryAdd(binding))
        {
            return binding;
        }

        binding.IsOpen = false;
        binding.DisposeInner();
        return null;
    }

    /// <summary>Checks a batch and passes on what is right: one call for the whole batch when all of it is.</summary>
    /// <param name="requests">The batch.</param>
    /// <param name="now">Since when their time counts.</param>
    internal void Submit(ReadOnlySpan<BlockRequestPointer> requests, long now)
    {
        var limits = Attachment.Limits;
        var first = 0;
        for (var i = 0; i < requests.Length; i++)
        {
            var request = requests[i].Pointer;
            var verdict = limits.Check(request);
            if (verdict == Verdict.Pass && _freeze is null)
            {
                // SAFETY: the submitter's memory, which the bdev reads during the call only; it refers to the same request as before.
                Unsafe.AsRef(in requests[i]) = new BlockRequestPointer(request, Track(request, now));
                continue;
            }

            // The order of the batch is kept: what was right so far goes first.
            if (i > first)
            {
                Pass(requests[first..i]);
            }

            first = i + 1;
            SubmitSpecial(request, verdict, now);
        }

        if (first < requests.Length)
        {
            Pass(requests[first..]);
        }
    }

    /// <inheritdoc/>
    public void OnCompleted(ReadOnlySpan<BlockRequestPointer> requests)
    {
        if (!IsOpen)
        {
            // The requests may be gone by now: they are not looked at.
            ReportStray(requests.Length, "after its channel was closed");
            return;
        }

        var now = _channel.Now;
        for (var i = 0; i < requests.Length; i++)
        {
            var request = requests[i].Pointer;
            if (request->HostState != RequestState.UnderWay || !TryRelease(requests[i]))
            {
                OnCompletedSorting(requests, i, now);
                return;
            }

            Count(request, now);
        }

        _channel.Deliver(requests);
        if (_isClosing)
        {
            PostCloseIfIdle();
        }
    }

    /// <summary>Takes no more requests and closes when the last one is back.</summary>
    internal void CloseWhenIdle()
    {
        _isClosing = true;
        FinishHeld(BlockStatus.NoDevice);
        CloseIfIdle();
        _channel.DeferOnce();
    }

    /// <summary><see cref="CloseWhenIdle"/>, from a message.</summary>
    internal void CloseIfOpen()
    {
        if (IsOpen)
        {
            CloseWhenIdle();
        }
    }

    /// <summary>The host gives up what is under way: the bdev's channel is closed, and then the requests end.</summary>
    /// <param name="status">How they end.</param>
    /// <returns>How many there were.</returns>
    internal int Abandon(BlockStatus status)
    {
        if (!IsOpen)
        {
            return 0;
        }

        var abandoned = _outstanding;
        IsOpen = false;
        DisposeInner();
        FinishHeld(status);
        foreach (var place in _places)
        {
            var request = (BlockRequest*)place;
            if (request is not null && request->HostState != RequestState.Internal)
            {
                _channel.Finish(request, status);
            }
        }

        AbandonEmulated(status);
        Array.Clear(_places);
        _channel.Counters.Outstanding -= _outstanding;
        _outstanding = 0;
        LeaveAttachment();
        _channel.DeferOnce();
        return abandoned;
    }

    /// <summary>The user closes its channel; what is still under way belongs to nobody and is dropped when it completes.</summary>
    internal void CloseNow()
    {
        if (!IsOpen)
        {
            return;
        }

        IsOpen = false;
        if (_outstanding > 0)
        {
            Attachment.Logger.LogWarning(HostEvents.ChannelClosedBusy, "bdev {Bdev}: a channel was closed with {Count} requests under way; their completions will be dropped", Attachment.Name, _outstanding);
        }

        _channel.Counters.Outstanding -= _outstanding;
        _outstanding = 0;
        AbandonEmulated(null);
        DisposeInner();
        LeaveAttachment();
    }

    private ushort Track(BlockRequest* request, long now)
    {
        if (_freeCount == 0)
        {
            GrowTable();
        }

        var place = _freePlaces[--_freeCount];
        _places[place] = (nint)request;
        // Never 0, which stands for any; it comes again after 65535 submissions.
        var generation = _generation = (ushort)(_generation == ushort.MaxValue ? 1 : _generation + 1);
        request->HostScratch[0] = (uint)place | ((ulong)generation << 32);
        request->HostScratch[1] = (ulong)now;
        request->HostState = RequestState.UnderWay;
        request->Information = 0;
        _outstanding++;
        _channel.Counters.Outstanding++;
        return generation;
    }

    private bool TryRelease(BlockRequestPointer item)
    {
        var request = item.Pointer;
        var place = (uint)request->HostScratch[0];
        if (place >= (uint)_places.Length || _places[place] != (nint)request
            || (item.Generation != 0 && item.Generation != (ushort)(request->HostScratch[0] >> 32)))
        {
            return false;
        }

        _places[place] = 0;
        _freePlaces[_freeCount++] = (int)place;
        request->HostState = RequestState.Idle;
        _outstanding--;
        _channel.Counters.Outstanding--;
        return true;
    }

    private void Count(BlockRequest* request, long now)
    {
        ref var counters = ref _channel.Counters;
        if (request->Status != BlockStatus.Success)
        {
            counters.CountFailure(request->Status);
            _channel.RecordFailure(request, (ulong)Math.Max(0, now - (long)request->HostScratch[1]));
            return;
        }

        ref var operation = ref counters.Operations[(int)request->Operation & 7];
        operation.Count++;
        operation.Bytes += request->BlockCount << Attachment.Limits.BlockShift;
        // Clocks of two kinds meet where counting was just switched on: never less than nothing.
        var latency = (ulong)Math.Max(0, now - (long)request->HostScratch[1]);
        operation.LatencyTicks += latency;
        if (latency > operation.MaxTicks)
        {
            operation.MaxTicks = latency;
        }

        if (latency < operation.MinTicks)
        {
            operation.MinTicks = latency;
        }

        _channel.Record(request, latency);
    }

    private void Pass(ReadOnlySpan<BlockRequestPointer> requests)
    {
        _channel.EnterBdev();
        try
        {
            _inner!.Submit(requests);
        }
        catch (Exception exception)
        {
            OnSubmitFailed(requests, exception);
        }
        finally
        {
            _channel.LeaveBdev();
        }
    }

    private void OnSubmitFailed(ReadOnlySpan<BlockRequestPointer> requests, Exception exception)
    {
        Attachment.Quarantine("it failed to take requests", exception);
        foreach (var request in requests)
        {
            // Those that it completed before it failed are out of the table. The rest may complete later: they are not in the table then.
            var pointer = request.Pointer;
            var state = pointer->HostState;
            if (state is not (RequestState.UnderWay or RequestState.UnderWayAwaited or RequestState.Internal) || !TryRelease(request))
            {
                continue;
            }

            if (state == RequestState.Internal)
            {
                pointer->Status = BlockStatus.IoError;
                OnInternalCompleted(pointer);
            }
            else
            {
                if (state == RequestState.UnderWayAwaited)
                {
                    OnAwaitedDone();
                }

                _channel.Finish(pointer, BlockStatus.IoError);
            }
        }
    }

    /// <summary>A batch with something else than plain requests in it: internal ones, awaited ones, strays.</summary>
    private void OnCompletedSorting(ReadOnlySpan<BlockRequestPointer> requests, int from, long now)
    {
        if (_sorted.Length < requests.Length)
        {
            _sorted = new BlockRequestPointer[requests.Length * 2];
        }

        requests[..from].CopyTo(_sorted);
        var count = from;
        foreach (var item in requests[from..])
        {
            var request = item.Pointer;
            var state = request->HostState;
            if (state is not (RequestState.UnderWay or RequestState.UnderWayAwaited or RequestState.Internal) || !TryRelease(item))
            {
                // While the channel is open that is a second completion.
                ReportStray(1, "that was not under way: it came late or twice");
                Attachment.Quarantine("it completed a request twice", null);
                continue;
            }

            if (state == RequestState.Internal)
            {
                OnInternalCompleted(request);
                continue;
            }

            if (state == RequestState.UnderWayAwaited)
            {
                OnAwaitedDone();
            }

            Count(request, now);
            _sorted[count++] = item;
        }

        if (count > 0)
        {
            _channel.Deliver(new ReadOnlySpan<BlockRequestPointer>(_sorted, 0, count));
        }

        if (_isClosing)
        {
            PostCloseIfIdle();
        }
    }

    private void CloseIfIdle()
    {
        if (!IsOpen || _outstanding > 0 || HasEmulated)
        {
            return;
        }

        if (_channel.IsBusy)
        {
            PostCloseIfIdle();
            return;
        }

        IsOpen = false;
        DisposeInner();
        FreeEmulated();
        LeaveAttachment();
    }

    /// <summary>Closes later, when neither the bdev nor the user is on the stack.</summary>
    private void PostCloseIfIdle()
    {
        if (_outstanding == 0 && !HasEmulated)
        {
            PostSafely(CloseIfIdle);
        }
    }

    private void LeaveAttachment()
    {
        LeaveFreeze();
        Attachment.Remove(this);
        _channel.OnBindingClosed(this);
    }

    private void DisposeInner()
    {
        var inner = _inner;
        _inner = null;
        if (inner is null)
        {
            return;
        }

        _channel.EnterBdev();
        try
        {
            inner.Dispose();
        }
        catch (Exception exception)
        {
            Attachment.Logger.LogError(HostEvents.ChannelCloseFailed, exception, "bdev {Bdev}: it failed to close a channel", Attachment.Name);
        }
        finally
        {
            _channel.LeaveBdev();
        }
    }

    private void ReportStray(int count, string when)
    {
        _channel.Counters.Stray += (ulong)count;
        if (_isStrayReported)
        {
            return;
        }

        _isStrayReported = true;
        Attachment.Logger.LogError(
            HostEvents.StrayCompletion,
            "bdev {Bdev}: it completed a request {When}. The completion was dropped, and further ones are only counted. This is a fault of the plugin: report it to its author",
            Attachment.Name,
            when);
    }

    private void GrowTable()
    {
        var length = _places.Length;
        Array.Resize(ref _places, length * 2);
        _freePlaces = new int[length * 2];
        for (var place = (length * 2) - 1; place >= length; place--)
        {
            _freePlaces[_freeCount++] = place;
        }
    }
}
