using Vhost.Abstractions;

namespace Vhost.Scsi;

/// <summary>What a logical unit remembers for its log pages. Counted since vhostd has the unit; nothing of it is on the way of a command that succeeds.</summary>
internal sealed class UnitLog
{
    /// <summary>How many self-tests are remembered (SPC-4, section 7.3.19).</summary>
    public const int MaxSelfTests = 20;

    private readonly Lock _lock = new();
    private readonly List<SelfTest> _selfTests = [];
    private readonly long _start = Environment.TickCount64;
    private long _readErrors;
    private long _writeErrors;
    private long _verifyErrors;
    private int _startCount = 1;

    /// <summary>The result of a self-test.</summary>
    internal readonly record struct SelfTest(byte Code, byte Result, ushort Hours, ulong FailedLba, SenseKey Key, AdditionalSense Additional);

    public long ReadErrors => Interlocked.Read(ref _readErrors);

    public long WriteErrors => Interlocked.Read(ref _writeErrors);

    public long VerifyErrors => Interlocked.Read(ref _verifyErrors);

    /// <summary>How often the unit was started.</summary>
    public int StartCount => Volatile.Read(ref _startCount);

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
