using Vhost.Abstractions;

namespace Vhost.Host.Bdevs;

/// <content>
/// What can be switched on live: counting of latencies, and limits. Each batch looks whether something was switched, and pays for nothing else
/// while all is off.
/// </content>
internal sealed unsafe partial class PortChannel
{
    private static readonly TimeSpan ThrottlePeriod = TimeSpan.FromMilliseconds(1);

    private PortSettings _settings = PortSettings.Default;
    private HistogramSettings? _ownerHistogram;
    private LatencyMeter? _meter;
    private LatencyMeter? _ownerMeter;
    private RequestRing? _trace;
    private ThrottleQueues? _throttle;
    private IDisposable? _throttleTimer;

    /// <summary>Whose latencies and shortest and longest times these are; an older one's are not read. Any thread.</summary>
    internal PortSettings Settings => Volatile.Read(ref _settings);

    /// <summary>The time, exact where latencies are counted.</summary>
    internal long Now => _meter is null && _ownerMeter is null ? Reactor.Timestamp : System.Diagnostics.Stopwatch.GetTimestamp();

    /// <summary>The counts under given settings, or null. Any thread.</summary>
    internal LatencyMeter? FindMeter(HistogramSettings settings) =>
        Volatile.Read(ref _meter) is { } meter && ReferenceEquals(meter.Settings, settings) ? meter
        : Volatile.Read(ref _ownerMeter) is { } owners && ReferenceEquals(owners.Settings, settings) ? owners
        : null;

    /// <summary>Counts a latency, and keeps the request, where that is switched on.</summary>
    internal void Record(BlockRequest* request, ulong ticks)
    {
        _meter?.Record(request->Operation, ticks);
        _ownerMeter?.Record(request->Operation, ticks);
        _trace?.Add(Reactor.Timestamp, request->Operation, request->Status, request->StartBlock, request->BlockCount, ticks);
    }

    /// <summary>Keeps a request that failed.</summary>
    internal void RecordFailure(BlockRequest* request, ulong ticks) =>
        _ring?.Add(Reactor.Timestamp, request->Operation, request->Status, request->StartBlock, request->BlockCount, ticks);

    /// <summary>The last requests: all while that is switched on, else those that failed. Any thread.</summary>
    internal IReadOnlyList<TracedRequest> GetRequests() => _ring?.GetRequests(_port.Name) ?? [];

    private void FollowSettings()
    {
        var settings = _port.Settings;
        if (!ReferenceEquals(settings, _settings))
        {
            if (settings.ExtremesVersion != _settings.ExtremesVersion)
            {
                Counters.ResetExtremes();
            }

            if (!ReferenceEquals(settings.Qos, _settings.Qos))
            {
                SetLimiter(settings.Qos);
            }

            Volatile.Write(ref _settings, settings);
        }

        if (!ReferenceEquals(_port.Channels.Histogram, _meter?.Settings))
        {
            Volatile.Write(ref _meter, _port.Channels.Histogram is { } histogram ? new LatencyMeter(histogram) : null);
        }

        _trace = _owner is { TracesRequests: true } ? _ring : null;
        if (!ReferenceEquals(_owner?.Histogram, _ownerHistogram))
        {
            _ownerHistogram = _owner?.Histogram;
            Volatile.Write(ref _ownerMeter, _ownerHistogram is { } histogram ? new LatencyMeter(histogram) : null);
        }
    }

    private void SetLimiter(QosLimiter? limiter)
    {
        _throttle?.Share?.Leave();
        if (_throttle is null)
        {
            _throttle = limiter is null ? null : new ThrottleQueues { Share = new QosShare(limiter, Reactor.Timestamp) };
            return;
        }

        // What is held goes with the next tick, under the new limit or none.
        _throttle.Share = limiter is null ? null : new QosShare(limiter, Reactor.Timestamp);
        if (_throttle.Count == 0 && limiter is null)
        {
            _throttle = null;
        }
    }

    private void SubmitThrottled(ChannelBinding binding, ThrottleQueues throttle, ReadOnlySpan<BlockRequestPointer> requests)
    {
        var now = Reactor.Timestamp;
        var limits = binding.Attachment.Limits;
        throttle.Share?.Demand(now);
        throttle.Share?.Refill(now);
        var first = 0;
        for (var i = 0; i < requests.Length; i++)
        {
            var request = requests[i].Pointer;
            // What is wrong is refused at once, and is not paid for.
            if (!ThrottleQueues.IsLimited(request->Operation) || limits.Check(request) < 0)
            {
                continue;
            }

            var isWrite = ThrottleQueues.IsWrite(request->Operation);
            if (throttle.Share is { } share && (throttle.HasHeld(isWrite) || !share.TryAdmit(isWrite, request->BlockCount << limits.BlockShift)))
            {
                if (i > first)
                {
                    binding.Submit(requests[first..i], Now);
                }

                first = i + 1;
                request->HostState = RequestState.Waiting;
                request->HostScratch[1] = (ulong)Now;
                throttle.Hold(requests[i], isWrite);
            }
        }

        if (first < requests.Length)
        {
            binding.Submit(requests[first..], Now);
        }

        _throttleTimer ??= Reactor.AddTimer(ThrottlePeriod, static state => ((PortChannel)state!).OnThrottleTick(), this);
    }

    private void OnThrottleTick()
    {
        if (_isDisposed)
        {
            return;
        }

        FollowSettings();
        var now = Reactor.Timestamp;
        if (_throttle is { } throttle)
        {
            if (throttle.Share is { } share)
            {
                if (throttle.Count > 0)
                {
                    share.Demand(now);
                }

                share.Refill(now);
                share.LeaveIfIdle(now);
            }

            SubmitHeld(throttle, onCredit: false);
            if (throttle.Count == 0 && throttle.Share is null)
            {
                _throttle = null;
            }
        }

        if (_throttle is null or { Count: 0, Share: null or { IsBusy: false } })
        {
            _throttleTimer?.Dispose();
            _throttleTimer = null;
        }

        DeliverFinished();
        if (_queueCount > 0)
        {
            DeferOnce();
        }
    }

    private void ReleaseAllHeld()
    {
        _isReleaseWanted = false;
        if (_throttle is { } throttle)
        {
            SubmitHeld(throttle, onCredit: true);
        }

        if (_binding is { IsOpen: true } binding)
        {
            binding.ReleaseHeldBelow();
        }
    }

    private void SubmitHeld(ThrottleQueues throttle, bool onCredit)
    {
        if (throttle.Count == 0)
        {
            return;
        }

        var binding = GetBinding();
        var admission = binding is null ? ThrottleAdmission.Free : onCredit ? ThrottleAdmission.OnCredit : ThrottleAdmission.Paid;
        // Each look is at requests that were there before it: what completions submit meanwhile waits its turn.
        for (var left = throttle.Count; left > 0; left--)
        {
            if (!throttle.TryTake(binding?.Attachment.Limits.BlockShift ?? 0, admission, out var request))
            {
                return;
            }

            request.Pointer->HostState = RequestState.Idle;
            if (binding is null || !binding.IsOpen)
            {
                Finish(request.Pointer, BlockStatus.NoDevice);
            }
            else
            {
                binding.Submit(new ReadOnlySpan<BlockRequestPointer>(in request), (long)request.Pointer->HostScratch[1]);
            }
        }
    }

    private bool RemoveThrottled(BlockRequestPointer request) => _throttle?.Remove(request) == true;

    private void EndThrottle()
    {
        _throttle?.Share?.Leave();
        _throttle = null;
        _throttleTimer?.Dispose();
        _throttleTimer = null;
    }
}
