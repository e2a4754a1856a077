namespace Vhost.Linux;

/// <summary>A range of memory that <see cref="MemoryFaultGuard"/> guards. Any thread.</summary>
public sealed class GuardedRange : IDisposable
{
    private readonly int _index;
    private readonly EventFd? _faulted;
    private ulong _finalCount;
    private int _isDisposed;

    internal GuardedRange(int index, EventFd? faulted)
    {
        _index = index;
        _faulted = faulted;
    }

    /// <summary>Whether memory of it was replaced by zeroes.</summary>
    public bool HasFailed => Volatile.Read(ref _isDisposed) != 0 ? _finalCount != 0 : MemoryFaultGuard.FaultsOf(_index) != 0;

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _isDisposed, 1) != 0)
        {
            return;
        }

        _finalCount = MemoryFaultGuard.FaultsOf(_index);
        MemoryFaultGuard.Release(_index);

        // The number stays open until now, because the handler writes to it.
        _faulted?.DangerousRelease();
    }
}
