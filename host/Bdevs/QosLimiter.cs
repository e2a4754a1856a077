using System.Runtime.CompilerServices;

namespace Vhost.Host.Bdevs;

/// <summary>
/// The limits of one bdev, shared by its channels. Each channel that is busy earns an even share of the rate by itself, without a look at the
/// others; what it cannot use goes into a pool from which channels take that need more. So the sum is the limit, a greedy channel takes nothing
/// from a modest one, and nothing is left unused. Only the pool and the number of busy channels are shared: by atomic operations, never a lock.
/// </summary>
internal sealed class QosLimiter
{
    /// <summary>Reads and writes, their bytes, bytes read, bytes written.</summary>
    internal const int KindCount = 4;

    private PaddedLong _busyCount;
    private Pools _pools;

    internal QosLimiter(QosLimits limits, long ticksPerSecond)
    {
        Limits = limits;
        RatePerTick =
        [
            limits.ReadWriteIosPerSec / (double)ticksPerSecond,
            limits.ReadWriteMbytesPerSec * (double)(1 << 20) / ticksPerSecond,
            limits.ReadMbytesPerSec * (double)(1 << 20) / ticksPerSecond,
            limits.WriteMbytesPerSec * (double)(1 << 20) / ticksPerSecond,
        ];
        TicksPerSecond = ticksPerSecond;
        // What may be saved up: the limit holds over any longer time, and a timer that is some milliseconds late costs nothing.
        BurstTicks = ticksPerSecond / 50;
        // A channel without a request for so long leaves its share to the others.
        IdleTicks = ticksPerSecond / 10;
    }

    internal QosLimits Limits { get; }

    internal double[] RatePerTick { get; }

    internal long TicksPerSecond { get; }

    internal long BurstTicks { get; }

    internal long IdleTicks { get; }

    internal int BusyCount => (int)Volatile.Read(ref _busyCount.Value);

    internal void Join() => Interlocked.Increment(ref _busyCount.Value);

    internal void Leave() => Interlocked.Decrement(ref _busyCount.Value);

    /// <summary>Gives what a channel cannot use; what the pool cannot hold is lost.</summary>
    internal void Spill(int kind, long tokens)
    {
        ref var pool = ref _pools[kind].Value;
        var limit = Math.Max(1, (long)(RatePerTick[kind] * BurstTicks));
        var now = Volatile.Read(ref pool);
        // Of two at a time one may lose its gift: a little less than the limit then, never more.
        _ = Interlocked.CompareExchange(ref pool, Math.Min(limit, now + tokens), now);
    }

    /// <summary>Takes what is not there: all channels together give it back before they use anything, also those that come later.</summary>
    internal void Borrow(int kind, long tokens) => Interlocked.Add(ref _pools[kind].Value, -tokens);

    /// <summary>Gives back of what was borrowed.</summary>
    /// <param name="kind">The limit.</param>
    /// <param name="tokens">What the channel has.</param>
    /// <returns>How much of that was due; 0 if nothing is, or another channel was faster.</returns>
    internal long Repay(int kind, double tokens)
    {
        ref var pool = ref _pools[kind].Value;
        var now = Volatile.Read(ref pool);
        if (now >= 0 || tokens < 1)
        {
            return 0;
        }

        var paid = (long)Math.Min(tokens, -(double)now);
        return Interlocked.CompareExchange(ref pool, now + paid, now) == now ? paid : 0;
    }

    /// <summary>Takes from the pool.</summary>
    /// <param name="kind">The limit.</param>
    /// <param name="wanted">At most so much.</param>
    /// <returns>How much; 0 if there is nothing, or another channel was faster.</returns>
    internal long Take(int kind, long wanted)
    {
        ref var pool = ref _pools[kind].Value;
        var now = Volatile.Read(ref pool);
        // No more than an even part, so that the pool does not belong to whoever comes first after each gift.
        var taken = Math.Min(Math.Max(Math.Min(1, now), now / Math.Max(1, BusyCount)), wanted);
        return taken > 0 && Interlocked.CompareExchange(ref pool, now - taken, now) == now ? taken : 0;
    }

    private struct PaddedLong
    {
        internal long Value;
#pragma warning disable CS0169, IDE0051 // padding against false sharing
        private readonly Reactors.Pad120 _after;
#pragma warning restore CS0169, IDE0051
    }

    [InlineArray(KindCount)]
    private struct Pools
    {
        private PaddedLong _first;
    }
}

/// <summary>One channel's share of a limit. Its reactor alone uses it. The time is given, so that tests make it.</summary>
internal sealed class QosShare
{
    private readonly QosLimiter _limiter;
    private readonly double[] _tokens = new double[QosLimiter.KindCount];
    private long _last;
    private long _lastDemand;
    private int _taken;

    internal QosShare(QosLimiter limiter, long now)
    {
        _limiter = limiter;
        _last = now;
    }

    internal QosLimiter Limiter => _limiter;

    /// <summary>Whether it counts among those that the rate is divided between.</summary>
    internal bool IsBusy { get; private set; }

    /// <summary>There is a request: the channel takes part.</summary>
    internal void Demand(long now)
    {
        _lastDemand = now;
        if (!IsBusy)
        {
            IsBusy = true;
            _limiter.Join();
            Refill(now);
        }
    }

    /// <summary>Ends the part of a channel that has had no request for a while.</summary>
    internal void LeaveIfIdle(long now)
    {
        if (IsBusy && now - _lastDemand >= _limiter.IdleTicks)
        {
            Leave();
        }
    }

    /// <summary>Ends the channel's part.</summary>
    internal void Leave()
    {
        if (IsBusy)
        {
            IsBusy = false;
            _limiter.Leave();
        }
    }

    /// <summary>Earns what the time since the last call gives.</summary>
    internal void Refill(long now)
    {
        var elapsed = Math.Min(now - _last, _limiter.BurstTicks);
        if (elapsed <= 0)
        {
            return;
        }

        _last = now;
        _taken = 0;
        var others = Math.Max(1, _limiter.BusyCount);
        var rates = _limiter.RatePerTick;
        for (var kind = 0; kind < QosLimiter.KindCount; kind++)
        {
            if (rates[kind] == 0)
            {
                continue;
            }

            var rate = rates[kind] / others;
            var most = Math.Max(1, rate * _limiter.BurstTicks);
            var tokens = _tokens[kind] + (rate * elapsed);
            tokens -= _limiter.Repay(kind, tokens);
            if (tokens > most)
            {
                var surplus = (long)(tokens - most);
                if (surplus > 0)
                {
                    _limiter.Spill(kind, surplus);
                }

                tokens -= surplus;
            }

            _tokens[kind] = tokens;
        }
    }

    /// <summary>Whether a request may go now; if so, it is paid for. What is more than was saved becomes a debt, so that large requests pass as well.</summary>
    /// <param name="isWrite">Whether it writes.</param>
    /// <param name="bytes">Its length.</param>
    internal bool TryAdmit(bool isWrite, ulong bytes)
    {
        var own = isWrite ? 3 : 2;
        if (!IsCovered(0) || !IsCovered(1) || !IsCovered(own))
        {
            return false;
        }

        _tokens[0] -= 1;
        _tokens[1] -= bytes;
        _tokens[own] -= bytes;
        return true;
    }

    /// <summary>A request goes whatever the limit says; all channels of the limit pay for it afterwards.</summary>
    /// <param name="isWrite">Whether it writes.</param>
    /// <param name="bytes">Its length.</param>
    internal void Borrow(bool isWrite, ulong bytes)
    {
        _limiter.Borrow(0, 1);
        _limiter.Borrow(1, (long)bytes);
        _limiter.Borrow(isWrite ? 3 : 2, (long)bytes);
    }

    private bool IsCovered(int kind)
    {
        if (_limiter.RatePerTick[kind] == 0 || _tokens[kind] >= 1)
        {
            return true;
        }

        if ((_taken & (1 << kind)) != 0)
        {
            return false;
        }

        _taken |= 1 << kind;
        // A debt is paid by the channel itself before it may take from the pool more than a little.
        var wanted = (long)(1 - _tokens[kind]) + (long)(_limiter.RatePerTick[kind] * _limiter.BurstTicks / 10);
        _tokens[kind] += _limiter.Take(kind, Math.Max(1, wanted));
        return _tokens[kind] >= 1;
    }
}
