using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>
/// Writes down in shared memory which requests are under way, so that a device that starts again after a crash does them again (vhost-user,
/// "Inflight I/O tracking"). One queue's own; its reactor's thread only. The front-end is not trusted with indexes.
/// </summary>
internal abstract unsafe class InFlightArea
{
    /// <summary>The version of the layout; 0 is a fresh area.</summary>
    private protected const ushort Version = 1;

    private protected readonly byte* _area;
    private protected readonly int _size;
    private protected ulong _counter = 1;

    private protected InFlightArea(VirtqueueSetup setup)
    {
        _area = (byte*)setup.InFlight.Address;
        _size = setup.Size;
    }

    /// <summary>Opens the area of a queue.</summary>
    /// <param name="setup">The queue.</param>
    public static InFlightArea Open(VirtqueueSetup setup) =>
        setup.Format == VirtqueueFormat.Packed ? new PackedInFlightArea(setup) : new SplitInFlightArea(setup);

    /// <summary>How long the area of a queue has to be.</summary>
    /// <param name="format">Split or packed.</param>
    /// <param name="size">Queue size.</param>
    public static ulong RequiredBytes(VirtqueueFormat format, int size) => format == VirtqueueFormat.Packed
        ? (ulong)(PackedInFlightArea.HeaderBytes + (PackedInFlightArea.EntryBytes * size))
        : (ulong)(SplitInFlightArea.HeaderBytes + (SplitInFlightArea.EntryBytes * size));

    /// <summary>Finds out what an earlier device left, and where to go on.</summary>
    /// <param name="state">Where the front-end says that the queue stands.</param>
    /// <param name="fault">Why the area makes no sense, or null.</param>
    /// <returns>Where to go on: equal to the given state if nothing is under way.</returns>
    public abstract VirtqueueState Recover(VirtqueueState state, out string? fault);

    /// <summary>What is to be done again, in the order in which it was taken: entries of the area.</summary>
    public ushort[] Pending { get; private protected set; } = [];

    /// <summary>Packed: copies the descriptors of a pending request.</summary>
    /// <param name="entry">One of <see cref="Pending"/>.</param>
    /// <param name="descriptors">Where to put them, in the ring's layout; room for as many as the queue has entries.</param>
    /// <returns>How many there are.</returns>
    public abstract int CopyDescriptors(ushort entry, byte* descriptors);

    /// <summary>A request was taken.</summary>
    /// <param name="request">The request.</param>
    /// <param name="ring">Packed: its first descriptor's position comes from where the ring stands after it.</param>
    public abstract void OnTaken(VirtioRequest* request, VirtqueueState ring);

    /// <summary>Requests are going to be published.</summary>
    /// <param name="completed">The requests.</param>
    /// <param name="count">Their number.</param>
    /// <param name="ring">Where the ring will stand.</param>
    public abstract void OnPublishing(VirtioRequest** completed, int count, VirtqueueState ring);

    /// <summary>They were published.</summary>
    /// <param name="completed">The requests.</param>
    /// <param name="count">Their number.</param>
    /// <param name="ring">Where the ring stands.</param>
    public abstract void OnPublished(VirtioRequest** completed, int count, VirtqueueState ring);

    /// <summary>The rings moved.</summary>
    /// <param name="addresses">Where they are.</param>
    public abstract void Move(VirtqueueAddresses addresses);

    private protected ref ushort Field(int offsetBytes) => ref *(ushort*)(_area + offsetBytes);

    private protected void SetPending(List<(ulong Counter, ushort Entry)> found)
    {
        found.Sort();
        Pending = [.. found.Select(item => item.Entry)];
        _counter = found.Count == 0 ? 1 : found[^1].Counter + 1;
    }
}
