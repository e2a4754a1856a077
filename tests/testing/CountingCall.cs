using Vhost.Abstractions;

namespace Vhost.Testing;

/// <summary>Counts interrupts.</summary>
public sealed class CountingCall : ICallNotifier
{
    private int _count;

    public int Count => Volatile.Read(ref _count);

    public void Notify() => Interlocked.Increment(ref _count);
}
