using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>
/// The device's side of a ring of one format. Implemented by structs, so that a queue is compiled once for each format and pays no
/// branch for it. The reactor's thread only.
/// </summary>
internal unsafe interface IDeviceRing
{
    /// <summary>Where the ring stands.</summary>
    VirtqueueState State { get; }

    /// <summary>Begins to take a batch of chains.</summary>
    /// <param name="fault">Why the ring is broken, or none.</param>
    /// <returns>The most chains that may be there: 0 if there is none, or if the ring is broken.</returns>
    int BeginTake(out ChainFault fault);

    /// <summary>
    /// Fetches the descriptors of the next chains side by side: they lie in cache lines of the driver's CPU, and taking one chain after the other would
    /// wait for each line in turn. Only a hint: nothing is decided by what it reads.
    /// </summary>
    /// <param name="count">How many chains, at most what <see cref="BeginTake"/> gave.</param>
    void Prefetch(int count);

    /// <summary>Fetches the descriptors where the chain before stood: a driver with one request under way uses them again and again. Only a hint.</summary>
    void PrefetchAgain();

    /// <summary>The cache line into which the next used element goes, if it lies apart from what the driver looks at all the time; else null.</summary>
    byte* NextUsedLine { get; }

    /// <summary>Takes the next chain.</summary>
    /// <param name="parser">Collects it.</param>
    /// <param name="request">A free slot.</param>
    /// <param name="fault">Why the ring is broken, or none.</param>
    PopResult TryTake(ref ChainParser parser, VirtioRequest* request, out ChainFault fault);

    /// <summary>Writes a used element that the driver does not see yet.</summary>
    /// <param name="request">The completed request.</param>
    void PushUsed(VirtioRequest* request);

    /// <summary>Shows the driver all used elements since the last call. There is at least one.</summary>
    void Publish();

    /// <summary>
    /// Fetches what <see cref="Prefetch"/> does for the chains that are there by now. Called between <see cref="Publish"/> and <see cref="ShouldNotify"/>: the
    /// fence of the latter waits until the driver's CPU has given up the lines that were written, and these come meanwhile.
    /// </summary>
    /// <param name="limit">The most chains.</param>
    void PrefetchNext(int limit);

    /// <summary>Whether the driver wants to be interrupted for what was published since the last call.</summary>
    bool ShouldNotify();

    /// <summary>Asks the driver for kicks, then looks for work.</summary>
    /// <returns>False if there is work.</returns>
    bool TryArm();

    /// <summary>Asks the driver not to kick.</summary>
    void Disarm();

    /// <summary>Goes on at other addresses, where the same ring lies.</summary>
    /// <param name="addresses">The addresses.</param>
    void Move(VirtqueueAddresses addresses);

    /// <summary>Goes on elsewhere than the set-up said.</summary>
    /// <param name="state">Where.</param>
    /// <param name="entriesUnderWay">Packed: ring entries of the requests that are going to be taken again.</param>
    void Resume(VirtqueueState state, int entriesUnderWay);

    /// <summary>Takes a request again that an earlier device had taken.</summary>
    /// <param name="parser">Collects it.</param>
    /// <param name="request">A free slot.</param>
    /// <param name="entry">Split: its head.</param>
    /// <param name="descriptors">Packed: copies of its descriptors.</param>
    /// <param name="count">Packed: their number.</param>
    /// <param name="fault">Why the ring is broken, or none.</param>
    PopResult TakeAgain(ref ChainParser parser, VirtioRequest* request, ushort entry, byte* descriptors, int count, out ChainFault fault);
}
