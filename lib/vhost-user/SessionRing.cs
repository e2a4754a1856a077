using Vhost.Abstractions;

namespace Vhost.VhostUser;

/// <summary>What a front-end has said about one ring so far, and whether it runs. Session thread only.</summary>
/// <param name="index">The queue.</param>
internal sealed class SessionRing(int index)
{
    /// <summary>The queue.</summary>
    internal int Index => index;

    /// <summary>SET_VRING_NUM, or 0.</summary>
    internal int Size { get; set; }

    /// <summary>SET_VRING_ADDR, or null.</summary>
    internal VringAddress? Address { get; set; }

    /// <summary>SET_VRING_BASE since the ring last ran, or null.</summary>
    internal uint? Base { get; set; }

    /// <summary>Where the ring stood when it was stopped; null if it never ran, or a new base has come since.</summary>
    internal VirtqueueState? State { get; set; }

    /// <summary>
    /// Where the ring stood at a reset of the device, as GET_VRING_BASE says it; null if none came since SET_VRING_BASE. QEMU 7.2 resets the device, and only then asks where
    /// the rings stood, when it stops a guest: to pause it, to migrate it.
    /// </summary>
    internal uint? BaseBeforeReset { get; set; }

    /// <summary>SET_VRING_ENABLE, or null if it never came.</summary>
    internal bool? Enabled { get; set; }

    /// <summary>SET_VRING_KICK, or null: the ring is stopped.</summary>
    internal IQueueKick? Kick { get; set; }

    /// <summary>The notifier; lasts as long as the session.</summary>
    internal IQueueCall? Call { get; set; }

    /// <summary>SET_VRING_ERR.</summary>
    internal IQueueCall? Error { get; set; }

    /// <summary>Whether the device runs it.</summary>
    internal bool IsRunning { get; set; }

    /// <summary>The ring was stopped because its memory went away; it starts again when its memory is back.</summary>
    internal bool IsStranded { get; set; }

    /// <summary>Forgets everything but the notifiers, which front-ends set up once, and <see cref="BaseBeforeReset"/>.</summary>
    internal void Reset()
    {
        Size = 0;
        Address = null;
        Base = null;
        State = null;
        Enabled = null;
        IsStranded = false;
        Kick?.Dispose();
        Kick = null;
    }

    /// <summary>Takes out what the device uses to talk with the driver, so that <see cref="Dispose"/> does not close it.</summary>
    internal IEnumerable<IDisposable> TakeNotifiers()
    {
        IDisposable?[] notifiers = [Kick, Call];
        (Kick, Call) = (null, null);
        return notifiers.OfType<IDisposable>();
    }

    /// <summary>Closes what the front-end has handed over for this ring.</summary>
    internal void Dispose()
    {
        Kick?.Dispose();
        Kick = null;
        Call?.Dispose();
        Call = null;
        Error?.Dispose();
        Error = null;
    }
}
