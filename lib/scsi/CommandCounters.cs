namespace Vhost.Scsi;

/// <summary>
/// What one device server counts of one nexus, without a lock and without an allocation. Written on its reactor only; other threads read each number as it is at some
/// moment.
/// </summary>
/// <param name="log">The log of the unit.</param>
internal sealed class CommandCounters(UnitLog log)
{
    private readonly long[] _totals = new long[(int)CommandTotal.Count];
    private int _underWay;

    /// <summary>Adds the numbers to others. Any thread.</summary>
    public void AddTo(Span<long> totals)
    {
        for (var i = 0; i < _totals.Length; i++)
        {
            totals[i] += Volatile.Read(ref _totals[i]);
        }
    }

    /// <summary>A command is received.</summary>
    /// <param name="kind">What it counts as; not none.</param>
    public void OnReceived(CommandClass kind)
    {
        var direction = (int)(kind & CommandClass.Write) >> 1;
        _totals[(int)CommandTotal.Commands + direction]++;
        if ((kind & CommandClass.ForceUnitAccess) != 0)
        {
            _totals[(int)CommandTotal.ForcedCommands + direction]++;
        }
    }

    /// <summary>A command is under way from now on.</summary>
    /// <param name="now">The time.</param>
    public void OnStarted(long now)
    {
        if (_underWay++ == 0)
        {
            log.OnBusy(now);
        }
    }

    /// <summary>A command that was under way is done.</summary>
    /// <param name="kind">What it counts as.</param>
    /// <param name="blocks">The blocks that were transferred.</param>
    /// <param name="ticks">How long it took.</param>
    /// <param name="now">The time.</param>
    public void OnDone(CommandClass kind, ulong blocks, long ticks, long now)
    {
        if (kind != CommandClass.None)
        {
            var direction = (int)(kind & CommandClass.Write) >> 1;
            _totals[(int)CommandTotal.Ticks + direction] += ticks;
            _totals[(int)CommandTotal.Blocks + direction] += (kind & CommandClass.WithoutBlocks) == 0 ? (long)blocks : 0;
            if ((kind & CommandClass.ForceUnitAccess) != 0)
            {
                _totals[(int)CommandTotal.ForcedTicks + direction] += ticks;
            }
        }

        if (--_underWay == 0)
        {
            log.OnIdle(now);
        }
    }

    /// <summary>The device server is gone, and with it what it had under way.</summary>
    /// <param name="now">The time.</param>
    public void Close(long now)
    {
        if (_underWay > 0)
        {
            _underWay = 0;
            log.OnIdle(now);
        }

        log.Remove(this);
    }
}
