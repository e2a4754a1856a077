using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.Plugins.VhostUserTransport;

/// <summary>
/// Interrupts the driver by eventfd. The reactor uses one descriptor number for the whole session; a new target is put behind that number by dup3, which
/// the kernel does in one step. So a notification reaches the former target or the new one, without a lock and without a count per use, and the number is never
/// closed, or given to another file, while a reactor may use it.
/// </summary>
internal sealed class EventFdCall : IQueueCall
{
    // Where nothing is to be interrupted, the number stands for this process's own eventfd, which nobody reads and which never blocks.
    private readonly EventFd _stable = EventFd.Create();
    private readonly int _raw;
    private readonly string _purpose;
    private volatile bool _hasTarget;

    /// <summary>Creates a notifier without a target.</summary>
    /// <param name="purpose">Names it in messages.</param>
    internal EventFdCall(string purpose)
    {
        _purpose = purpose;
        _raw = _stable.Raw;
    }

    /// <inheritdoc/>
    public void Notify()
    {
        if (_hasTarget)
        {
            _ = EventFd.SignalRaw(_raw);
        }
    }

    /// <inheritdoc/>
    public void SetTarget(FileDescriptor? descriptor, bool isPolled)
    {
        if (descriptor is null)
        {
            _hasTarget = false;
            using var nobody = EventFd.Create();
            _stable.RedirectTo(nobody);
            return;
        }

        DescriptorKinds.RequireEventFd(descriptor, _purpose);
        using (descriptor)
        {
            _stable.RedirectTo(descriptor);
        }

        _hasTarget = true;

        // The former target may have got the interrupt of a batch whose driver looks at the new one only; one too many is harmless.
        _ = EventFd.SignalRaw(_raw);
    }

    /// <inheritdoc/>
    public void Dispose() => _stable.Dispose();
}
