using Vhost.Linux;

namespace Vhost.VfioUser;

/// <summary>
/// The eventfds that the client gave for the device's interrupts. Any thread may signal; a lock that is contended only while
/// the client changes the set-up keeps a descriptor open while it is signalled.
/// </summary>
public sealed class VfioUserInterrupts
{
    private readonly Lock _lock = new();
    private readonly Vector[][] _vectors;
    private readonly VfioUserIrqFlags[] _flags;

    internal VfioUserInterrupts(VfioUserIrq[] irqs)
    {
        _vectors = [.. irqs.Select(irq => Enumerable.Range(0, (int)irq.Count).Select(_ => new Vector()).ToArray())];
        _flags = [.. irqs.Select(irq => irq.Flags)];
    }

    /// <summary>Whether the client listens to a vector.</summary>
    /// <param name="irqIndex">Interrupt type.</param>
    /// <param name="vector">Vector.</param>
    public bool IsConnected(int irqIndex, int vector)
    {
        lock (_lock)
        {
            return _vectors[irqIndex][vector].Fd is not null;
        }
    }

    /// <summary>Signals a vector; one that is masked is signalled when it is unmasked. False where nobody listens.</summary>
    /// <param name="irqIndex">Interrupt type.</param>
    /// <param name="vector">Vector.</param>
    public bool Trigger(int irqIndex, int vector)
    {
        lock (_lock)
        {
            Vector v = _vectors[irqIndex][vector];
            v.IsPending = true;
            return Deliver(v, _flags[irqIndex]);
        }
    }

    /// <summary>Sets the level of a line (INTx): signalled while it is high, again after each unmask.</summary>
    /// <param name="irqIndex">Interrupt type.</param>
    /// <param name="vector">Vector.</param>
    /// <param name="isHigh">The level.</param>
    public void SetLevel(int irqIndex, int vector, bool isHigh)
    {
        lock (_lock)
        {
            Vector v = _vectors[irqIndex][vector];
            if (v.IsHigh != isHigh)
            {
                v.IsHigh = isHigh;
                v.IsPending = isHigh;
                _ = Deliver(v, _flags[irqIndex]);
            }
        }
    }

    internal int Count(int irqIndex) => _vectors[irqIndex].Length;

    internal void Connect(int irqIndex, int vector, FileDescriptor? fd)
    {
        lock (_lock)
        {
            Vector v = _vectors[irqIndex][vector];
            v.Fd?.Dispose();
            v.Fd = fd;
            if (fd is null)
            {
                v.IsMasked = false;
                v.IsPending = v.IsHigh;
            }
            else if (v.IsHigh)
            {
                v.IsPending = true;
                _ = Deliver(v, _flags[irqIndex]);
            }
        }
    }

    internal void SetMasked(int irqIndex, int vector, bool isMasked)
    {
        lock (_lock)
        {
            Vector v = _vectors[irqIndex][vector];
            v.IsMasked = isMasked;
            v.IsPending |= v.IsHigh;
            _ = Deliver(v, _flags[irqIndex]);
        }
    }

    internal void DisconnectAll()
    {
        for (int irq = 0; irq < _vectors.Length; irq++)
        {
            for (int vector = 0; vector < _vectors[irq].Length; vector++)
            {
                Connect(irq, vector, null);
            }
        }
    }

    private static bool Deliver(Vector v, VfioUserIrqFlags flags)
    {
        if (v.Fd is null)
        {
            // Nobody listens: an edge is lost as on real hardware with interrupts off, a level stays.
            v.IsPending = v.IsHigh;
            return false;
        }

        if (v.IsPending && !v.IsMasked)
        {
            v.IsPending = false;
            v.IsMasked = (flags & VfioUserIrqFlags.AutoMasked) != 0;
            return EventFd.SignalRaw(v.Fd.Raw);
        }

        return true;
    }

    private sealed class Vector
    {
        public FileDescriptor? Fd { get; set; }

        public bool IsMasked { get; set; }

        public bool IsPending { get; set; }

        public bool IsHigh { get; set; }
    }
}
