using System.Runtime.CompilerServices;
using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>
/// The driver's side of a virtqueue. One thread at a time. The device is not trusted: what it gives back is checked against what was sent, and
/// the first lie breaks the queue for good (<see cref="BrokenReason"/>).
/// </summary>
public abstract unsafe class DriverVirtqueue
{
    private protected readonly DriverVirtqueueMemory _memory;
    private protected readonly bool _hasEventIndex;
    private protected readonly DriverChain[] _chains;

    private protected DriverVirtqueue(int size, ulong features, DriverVirtqueueMemory memory)
    {
        Size = size;
        _memory = memory;
        _hasEventIndex = (features & VirtioFeatures.EventIndex) != 0;
        UsesIndirect = (features & VirtioFeatures.IndirectDescriptors) != 0 && memory.TableEntryCount != 0;
        _chains = new DriverChain[size];
        FreeCount = size;
    }

    /// <summary>Number of entries.</summary>
    public int Size { get; }

    /// <summary>Descriptors of the ring that are free.</summary>
    public int FreeCount { get; private protected set; }

    /// <summary>Requests that the device has.</summary>
    public int UnderWayCount { get; private protected set; }

    /// <summary>
    /// Whether requests of several pieces go through an indirect table where they fit in one. True at first if the feature was negotiated and the
    /// memory has tables; may be set to false.
    /// </summary>
    public bool UsesIndirect { get; set; }

    /// <summary>What the device did wrong, or null. A broken queue gives nothing back any more; the device needs a reset.</summary>
    public string? BrokenReason { get; private set; }

    /// <summary>Creates a queue at its beginning.</summary>
    /// <param name="format">Split or packed.</param>
    /// <param name="size">Number of entries.</param>
    /// <param name="features">The negotiated features.</param>
    /// <param name="memory">Its memory, zeroed.</param>
    public static DriverVirtqueue Create(VirtqueueFormat format, int size, ulong features, DriverVirtqueueMemory memory) =>
        format == VirtqueueFormat.Packed
            ? new PackedDriverVirtqueue(size, features, memory)
            : new SplitDriverVirtqueue(size, features, memory);

    /// <summary>Adds a request. The device sees it after the next <see cref="Publish"/>.</summary>
    /// <param name="readable">What the device reads.</param>
    /// <param name="writable">What the device writes.</param>
    /// <param name="token">Comes back with the result.</param>
    /// <returns>False if there is no room at the moment.</returns>
    /// <exception cref="ArgumentException">The request has no pieces, or more than the queue can ever take.</exception>
    public bool TryAdd(ReadOnlySpan<DriverSegment> readable, ReadOnlySpan<DriverSegment> writable, ulong token)
    {
        var count = readable.Length + writable.Length;
        var isIndirect = UsesIndirect && count > 1 && count <= _memory.TableEntryCount;
        var needed = isIndirect ? 1 : count;
        if (needed == 0 || needed > Size)
        {
            ThrowImpossible(count);
        }

        if (needed > FreeCount || BrokenReason != null)
        {
            return false;
        }

        ulong writableBytes = 0;
        foreach (var segment in writable)
        {
            writableBytes += segment.LengthBytes;
        }

        if (AllowsCountOfReadableBytes)
        {
            foreach (var segment in readable)
            {
                writableBytes += segment.LengthBytes;
            }
        }

        var id = AddChain(readable, writable, needed, isIndirect);
        ref var chain = ref _chains[id];
        chain.Token = token;
        chain.WritableBytes = writableBytes;
        chain.EntryCount = (ushort)needed;
        FreeCount -= needed;
        UnderWayCount++;
        return true;
    }

    /// <summary>
    /// Whether a device may count what it read as written. A used length is to tell only what was written, but QEMU's virtio-scsi adds the data of a write;
    /// for such a device the length proves no more than that it is not above the whole of the request.
    /// </summary>
    public bool AllowsCountOfReadableBytes { get; set; }

    /// <summary>Shows the device what was added.</summary>
    /// <returns>Whether the device wants to be notified.</returns>
    public abstract bool Publish();

    /// <summary>Whether the device gave something back. Reads shared memory; cheap.</summary>
    public abstract bool HasUsed { get; }

    /// <summary>The tokens of results that are there and were not taken yet. A hint, to fetch what belongs to them: nothing is checked or taken.</summary>
    /// <param name="tokens">Takes them.</param>
    /// <returns>How many; 0 for a format that does not tell.</returns>
    public virtual int PeekUsed(Span<ulong> tokens) => 0;

    /// <summary>Takes a result.</summary>
    /// <param name="token">The request's token.</param>
    /// <param name="writtenBytes">How much the device says that it wrote; never more than there was room for, or with <see cref="AllowsCountOfReadableBytes"/> than the request's length.</param>
    /// <returns>False if there is none, or if the queue is broken.</returns>
    public abstract bool TryGetUsed(out ulong token, out uint writtenBytes);

    /// <summary>Asks the device for interrupts, then looks for results.</summary>
    /// <returns>False if there are results: interrupts are off again.</returns>
    public abstract bool TryEnableInterrupts();

    /// <summary>Asks the device not to interrupt.</summary>
    public abstract void DisableInterrupts();

    private protected abstract int AddChain(ReadOnlySpan<DriverSegment> readable, ReadOnlySpan<DriverSegment> writable, int needed, bool isIndirect);

    /// <summary>Checks what the device says about a chain and takes it back.</summary>
    /// <returns>False if it is a lie.</returns>
    private protected bool TryTakeBack(uint id, uint writtenBytes, out ulong token)
    {
        token = 0;
        if (id >= (uint)_chains.Length || _chains[id].EntryCount == 0)
        {
            BrokenReason = $"the device gave back the request {id}, which it does not have";
            return false;
        }

        ref var chain = ref _chains[id];
        if (writtenBytes > chain.WritableBytes)
        {
            BrokenReason = $"the device says that it wrote {writtenBytes} bytes where there was room for {chain.WritableBytes}";
            return false;
        }

        token = chain.Token;
        FreeCount += chain.EntryCount;
        UnderWayCount--;
        return true;
    }

    private protected void Break(string reason) => BrokenReason ??= reason;

    /// <summary>Fills the indirect table of an entry.</summary>
    private protected ulong FillTable(int id, ReadOnlySpan<DriverSegment> readable, ReadOnlySpan<DriverSegment> writable, bool isChained)
    {
        // SAFETY: there is a table for each id, and the caller has compared the count with its length.
        var offset = (long)id * _memory.TableEntryCount * RingLayout.DescriptorBytes;
        var entry = _memory.Tables + offset;
        var index = 0;
        var last = readable.Length + writable.Length - 1;
        foreach (var segment in readable)
        {
            WriteEntry(entry, segment, 0, index, last, isChained);
            entry += RingLayout.DescriptorBytes;
            index++;
        }

        foreach (var segment in writable)
        {
            WriteEntry(entry, segment, RingLayout.FlagWrite, index, last, isChained);
            entry += RingLayout.DescriptorBytes;
            index++;
        }

        return _memory.TablesDeviceAddress + (ulong)offset;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void WriteEntry(byte* entry, DriverSegment segment, ushort flags, int index, int last, bool isChained)
    {
        *(ulong*)entry = segment.Address;
        *(uint*)(entry + 8) = segment.LengthBytes;
        if (isChained)
        {
            // Split tables are linked by next; packed ones are in order and have neither next nor an id.
            var hasNext = index != last;
            *(ushort*)(entry + 12) = (ushort)(flags | (hasNext ? RingLayout.FlagNext : 0));
            *(ushort*)(entry + 14) = (ushort)(hasNext ? index + 1 : 0);
        }
        else
        {
            *(ushort*)(entry + 12) = 0;
            *(ushort*)(entry + 14) = flags;
        }
    }

    private void ThrowImpossible(int count) =>
        throw new ArgumentException($"a request of {count} pieces does not fit in a queue of {Size} entries");
}
