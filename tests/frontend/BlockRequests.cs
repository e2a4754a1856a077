using Vhost.Virtio;

namespace Vhost.Testing.FrontEnd;

/// <summary>
/// Requests to a disk, in slots whose memory is laid out once, so that submitting one allocates nothing. A slot holds one request at a time. One thread a queue.
/// </summary>
public abstract class BlockRequests
{
    private const int PageBytes = 4096;

    private readonly GuestBuffer _data;
    private readonly int _maxDataBytes;

    private protected BlockRequests(GuestMemory memory, int slotCount, int maxDataBytes)
    {
        ArgumentNullException.ThrowIfNull(memory);
        _maxDataBytes = (maxDataBytes + PageBytes - 1) & ~(PageBytes - 1);
        _data = memory.Allocate(slotCount * _maxDataBytes, PageBytes);
        SlotCount = slotCount;
    }

    /// <summary>Number of slots.</summary>
    public int SlotCount { get; }

    /// <summary>Size of the disk's blocks.</summary>
    public int BlockSizeBytes { get; private protected set; }

    /// <summary>Number of the disk's blocks.</summary>
    public ulong BlockCount { get; private protected set; }

    /// <summary>A slot's data.</summary>
    /// <param name="slot">The slot.</param>
    public GuestBuffer Data(int slot) => _data.Slice(slot * _maxDataBytes, _maxDataBytes);

    /// <summary>Adds a read or a write to a queue; the slot is the token that comes back.</summary>
    /// <param name="ring">The queue.</param>
    /// <param name="slot">The slot.</param>
    /// <param name="isWrite">Write or read.</param>
    /// <param name="block">The first block.</param>
    /// <param name="lengthBytes">How much: whole blocks.</param>
    /// <returns>False if the queue has no room.</returns>
    public abstract bool TryAdd(DriverVirtqueue ring, int slot, bool isWrite, ulong block, int lengthBytes);

    /// <summary>Adds a flush.</summary>
    /// <param name="ring">The queue.</param>
    /// <param name="slot">The slot.</param>
    public abstract bool TryAddFlush(DriverVirtqueue ring, int slot);

    /// <summary>Fetches what is written into slots when they are used again. A hint.</summary>
    /// <param name="slots">Their numbers.</param>
    public virtual void Prefetch(ReadOnlySpan<ulong> slots)
    {
    }

    /// <summary>Whether a slot's request succeeded.</summary>
    /// <param name="slot">The slot.</param>
    public abstract bool IsSuccess(int slot);

    /// <summary>How a slot's request ended, for people.</summary>
    /// <param name="slot">The slot.</param>
    public abstract string DescribeResult(int slot);

    /// <summary>Publishes what was added and waits for one result, with a bound, by polling.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="timeoutMilliseconds">The bound.</param>
    /// <returns>The slot.</returns>
    /// <exception cref="FrontEndException">Nothing came, or the device broke the queue.</exception>
    public static int Complete(FrontEndQueue queue, int timeoutMilliseconds = 60_000)
    {
        ArgumentNullException.ThrowIfNull(queue);
        queue.Publish();
        var deadline = Environment.TickCount64 + timeoutMilliseconds;
        var spinner = default(SpinWait);
        while (true)
        {
            if (queue.Ring.TryGetUsed(out var token, out _))
            {
                return (int)token;
            }

            if (queue.Ring.BrokenReason is { } reason)
            {
                throw new FrontEndException(reason);
            }

            if (Environment.TickCount64 > deadline)
            {
                throw new FrontEndException($"queue {queue.Index} gave nothing back for {timeoutMilliseconds} ms");
            }

            spinner.SpinOnce();
        }
    }

    /// <summary>Reads or writes and waits.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="slot">The slot.</param>
    /// <param name="isWrite">Write or read.</param>
    /// <param name="block">The first block.</param>
    /// <param name="lengthBytes">How much.</param>
    /// <returns>Whether it succeeded.</returns>
    public bool Execute(FrontEndQueue queue, int slot, bool isWrite, ulong block, int lengthBytes)
    {
        ArgumentNullException.ThrowIfNull(queue);
        return TryAdd(queue.Ring, slot, isWrite, block, lengthBytes)
            ? Complete(queue) == slot && IsSuccess(slot)
            : throw new FrontEndException($"queue {queue.Index} has no room");
    }
}
