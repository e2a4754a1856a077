using System.Diagnostics;
using Vhost.Abstractions;

namespace Vhost.Host.Tests;

/// <summary>Finds nothing, and notes how long nobody asked.</summary>
internal sealed class GapPoller : IPoller
{
    private long _last = Stopwatch.GetTimestamp();
    private int _polls;

    public int Polls => Volatile.Read(ref _polls);

    public long WorstGapTicks { get; set; }

    public int Poll()
    {
        var now = Stopwatch.GetTimestamp();
        WorstGapTicks = Math.Max(WorstGapTicks, now - _last);
        _last = now;
        _polls++;
        return 0;
    }

    public bool TryArm() => true;

    public void Disarm()
    {
    }
}
