namespace Vhost.Plugins.VvuTransport;

/// <summary>
/// Finds out that a hypervisor maps the other VM's memory no more, which QEMU does at the first interrupt of a vfio-user device's line: a load then takes an exit and a
/// message. It looks after ever more interrupts, and tells once. The server's thread only.
/// </summary>
/// <param name="measure">How long a load takes at best, in nanoseconds; 0 while no memory is mapped.</param>
/// <param name="tell">Receives the time of a load that is too long.</param>
internal sealed class SlowMemoryWatch(Func<long> measure, Action<long> tell)
{
    /// <summary>No mapped memory takes as long, and no message is as fast.</summary>
    internal const long LimitNanoseconds = 4000;

    private const int LastLook = 1 << 16;
    private int _interrupts;
    private int _nextLook = 1;

    /// <summary>The line interrupted.</summary>
    public void OnInterrupt()
    {
        if (_nextLook > LastLook || ++_interrupts < _nextLook)
        {
            return;
        }

        var nanoseconds = measure();
        if (nanoseconds == 0)
        {
            // Looks again with the next one.
            _interrupts = _nextLook - 1;
            return;
        }

        _nextLook *= 2;
        if (nanoseconds > LimitNanoseconds)
        {
            _nextLook = int.MaxValue;
            tell(nanoseconds);
        }
    }
}
