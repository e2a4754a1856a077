using System.Diagnostics;
using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Vhost.Testing.FrontEnd;

namespace Vhost.Bench;

/// <summary>
/// Tells what of a slow request's latency the reactor and the client spent waiting for a CPU that another thread had: what is left is the server's own doing, or
/// the hypervisor's. From /proc/PID/task/TID/schedstat (Documentation/scheduler/sched-stats.rst): time on the CPU, time waiting for one, both in ns.
/// Made by anybody, used by the load's thread, read after it.
/// </summary>
internal sealed class SchedulerWaits : ILatencyObserver, IDisposable
{
    private const string Name = "schedstat";

    private static readonly long LookTicks = Stopwatch.Frequency / 5000;

    private readonly SafeFileHandle _reactor;
    private readonly byte[] _buffer = new byte[128];
    private SafeFileHandle? _client;
    private long _lastLook;
    private long _lastWait;

    /// <summary>Finds the reactor.</summary>
    /// <param name="process">vhostd's process id.</param>
    /// <param name="thread">The reactor's thread.</param>
    /// <exception cref="FrontEndException">It has no such thread.</exception>
    public SchedulerWaits(int process, string thread)
    {
        var task = Directory.GetDirectories($"/proc/{process}/task").FirstOrDefault(task => File.ReadAllText(Path.Combine(task, "comm")).Trim() == thread)
            ?? throw new FrontEndException($"process {process} has no thread '{thread}'");
        _reactor = File.OpenHandle(Path.Combine(task, Name));
    }

    /// <summary>The greatest latency without what both waited for a CPU meanwhile, in microseconds.</summary>
    public double GreatestWithoutWaitsMicroseconds { get; private set; }

    /// <inheritdoc/>
    public void OnMeasuring() => GreatestWithoutWaitsMicroseconds = 0;

    /// <inheritdoc/>
    public void OnCompleted(long now, long slowest)
    {
        if (now - _lastLook < LookTicks && slowest < LookTicks)
        {
            return;
        }

        // Opened here: the thread means the one that asks.
        _client ??= File.OpenHandle($"/proc/thread-self/{Name}");
        var wait = ReadWaitNanoseconds(_reactor) + ReadWaitNanoseconds(_client);
        if (_lastLook != 0)
        {
            var rest = (slowest * 1e6 / Stopwatch.Frequency) - ((wait - _lastWait) / 1e3);
            GreatestWithoutWaitsMicroseconds = Math.Max(GreatestWithoutWaitsMicroseconds, rest);
        }

        // Not "now": what the look itself took is not the next request's.
        _lastLook = Stopwatch.GetTimestamp();
        _lastWait = wait;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _reactor.Dispose();
        _client?.Dispose();
    }

    private long ReadWaitNanoseconds(SafeFileHandle file)
    {
        var count = RandomAccess.Read(file, _buffer, 0);
        var line = _buffer.AsSpan(0, count);
        var first = line.IndexOf((byte)' ') + 1;
        var length = line[first..].IndexOf((byte)' ');
        return long.Parse(line.Slice(first, length), CultureInfo.InvariantCulture);
    }
}
