using System.Diagnostics;
using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>
/// What a logical unit remembers for its log pages. Counted since vhostd has the unit, or since an initiator reset it (LOG SELECT).
/// </summary>
internal sealed class UnitLog
{
    /// <summary>How many self-tests are remembered (SPC-4, section 7.3.19).</summary>
    public const int MaxSelfTests = 20;

    private readonly Lock _lock = new();
    private readonly List<SelfTest> _selfTests = [];
    private readonly List<CommandCounters> _counters = [];

    // Totals of device servers that are gone, less what there was at the last reset.
    private readonly long[] _former = new long[(int)CommandTotal.Count];
    private readonly long _start = Environment.TickCount64;
    private long _readErrors;
    private long _writeErrors;
    private long _verifyErrors;
    private int _startCount = 1;

    // Device servers that have commands of the unit under way, and since when there is none.
    private int _busyCount;
    private long _idleSince = Stopwatch.GetTimestamp();
    private long _idleTicks;

    /// <summary>The result of a self-test.</summary>
    internal readonly record struct SelfTest(byte Code, byte Result, ushort Hours, ulong FailedLba, SenseKey Key, AdditionalSense Additional);

    public long ReadErrors => Interlocked.Read(ref _readErrors);

    public long WriteErrors => Interlocked.Read(ref _writeErrors);

    public long VerifyErrors => Interlocked.Read(ref _verifyErrors);

    /// <summary>How often the unit was started.</summary>
    public int StartCount => Volatile.Read(ref _startCount);

    /// <summary>A device server begins to count.</summary>
    public CommandCounters AddCounters()
    {
        var counters = new CommandCounters(this);
        lock (_lock)
        {
            _counters.Add(counters);
        }

        return counters;
    }

    /// <summary>A device server is gone; what it counted stays.</summary>
    public void Remove(CommandCounters counters)
    {
        lock (_lock)
        {
            if (_counters.Remove(counters))
            {
                counters.AddTo(_former);
            }
        }
    }

    /// <summary>Sums up what all device servers counted.</summary>
    /// <param name="totals">The sums, by <see cref="CommandTotal"/>.</param>
    public void Sum(Span<long> totals)
    {
        lock (_lock)
        {
            _former.CopyTo(totals);
            AddCounted(totals);
        }
    }

    private void AddCounted(Span<long> totals)
    {
        foreach (var counters in _counters)
        {
            counters.AddTo(totals);
        }
    }

    /// <summary>How long no command was under way, in ticks of <see cref="Stopwatch"/>.</summary>
    public long GetIdleTicks()
    {
        var idle = Interlocked.Read(ref _idleTicks);
        return Volatile.Read(ref _busyCount) == 0 ? idle + Math.Max(0, Stopwatch.GetTimestamp() - Volatile.Read(ref _idleSince)) : idle;
    }

    /// <summary>A device server has something under way. Any reactor.</summary>
    /// <param name="now">Since when.</param>
    public void OnBusy(long now)
    {
        if (Interlocked.Increment(ref _busyCount) == 1)
        {
            Interlocked.Add(ref _idleTicks, Math.Max(0, now - Volatile.Read(ref _idleSince)));
        }
    }

    /// <summary>A device server has nothing under way any more. Any reactor.</summary>
    /// <param name="now">Since when.</param>
    public void OnIdle(long now)
    {
        // Before the count, so that whoever finds the unit idle finds the time too.
        Volatile.Write(ref _idleSince, now);
        Interlocked.Decrement(ref _busyCount);
    }

    /// <summary>Sets counters of commands, and the idle time, to zero.</summary>
    public void ResetStatistics()
    {
        lock (_lock)
        {
            // Those that count go on; what they have counted so far is taken off.
            Span<long> totals = stackalloc long[(int)CommandTotal.Count];
            totals.Clear();
            AddCounted(totals);
            for (var i = 0; i < totals.Length; i++)
            {
                _former[i] = -totals[i];
            }
        }

        Interlocked.Add(ref _idleTicks, -GetIdleTicks());
    }

    public void ResetReadErrors() => Interlocked.Exchange(ref _readErrors, 0);

    public void ResetWriteErrors() => Interlocked.Exchange(ref _writeErrors, 0);

    public void ResetVerifyErrors() => Interlocked.Exchange(ref _verifyErrors, 0);

    public void ForgetSelfTests()
    {
        lock (_lock)
        {
            _selfTests.Clear();
        }
    }

    /// <summary>A block request failed for good.</summary>
    public void CountError(BlockOperation operation, bool isVerify)
    {
        if (isVerify || operation == BlockOperation.Compare)
        {
            Interlocked.Increment(ref _verifyErrors);
        }
        else if (operation == BlockOperation.Read)
        {
            Interlocked.Increment(ref _readErrors);
        }
        else
        {
            Interlocked.Increment(ref _writeErrors);
        }
    }

    public void CountStart() => Interlocked.Increment(ref _startCount);

    public void AddSelfTest(byte code, byte result, ulong failedLba = ulong.MaxValue, SenseKey key = SenseKey.NoSense, AdditionalSense additional = AdditionalSense.None)
    {
        lock (_lock)
        {
            if (_selfTests.Count == MaxSelfTests)
            {
                _selfTests.RemoveAt(MaxSelfTests - 1);
            }

            var hours = (ushort)Math.Min(ushort.MaxValue, (Environment.TickCount64 - _start) / 3_600_000);
            _selfTests.Insert(0, new SelfTest(code, result, hours, failedLba, key, additional));
        }
    }

    /// <summary>The self-tests, the last one first.</summary>
    public SelfTest[] GetSelfTests()
    {
        lock (_lock)
        {
            return [.. _selfTests];
        }
    }
}
