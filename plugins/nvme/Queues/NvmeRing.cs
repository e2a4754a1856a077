using System.Diagnostics;
using Vhost.Pci;
using Vhost.Plugins.Nvme.Protocol;

namespace Vhost.Plugins.Nvme.Queues;

/// <summary>
/// The mechanics of one submission and completion queue pair (NVM Express Base 2.0, section 3.3): memory, indexes, phase, doorbells. One
/// thread at a time. It holds no more commands than <see cref="Capacity"/>; whoever uses it bounds what is outstanding.
/// </summary>
internal sealed unsafe class NvmeRing : IDisposable
{
    private const int CommandBytes = 64;
    private const int CompletionBytes = 16;
    private readonly DmaMemory _submissions;
    private readonly DmaMemory _completions;
    private readonly PciBar _bar;
    private readonly ulong _submissionDoorbell;
    private readonly ulong _completionDoorbell;
    private uint _tail;
    private uint _head;
    private uint _phase = 1;
    private uint _announcedTail;
    private uint _announcedHead;
    private uint* _shadowTail;
    private uint* _shadowHead;
    private uint* _eventTail;
    private uint* _eventHead;

    public NvmeRing(IPciDevice device, PciBar bar, int queueId, int entryCount, ulong doorbellStrideBytes)
    {
        QueueId = queueId;
        EntryCount = entryCount;
        _bar = bar;
        _submissionDoorbell = NvmeRegister.Doorbells + ((ulong)(2 * queueId) * doorbellStrideBytes);
        _completionDoorbell = _submissionDoorbell + doorbellStrideBytes;
        if (_completionDoorbell + 4 > bar.LengthBytes)
        {
            throw new PciException($"{device.Address}: BAR 0 is {bar.LengthBytes} bytes long, too small for the doorbells of queue {queueId}");
        }

        _submissions = device.Dma.Allocate((nuint)(entryCount * CommandBytes), isContiguous: true);
        try
        {
            _completions = device.Dma.Allocate((nuint)(entryCount * CompletionBytes), isContiguous: true);
        }
        catch
        {
            _submissions.Dispose();
            throw;
        }
    }

    public int QueueId { get; }

    public int EntryCount { get; }

    /// <summary>Commands that may be outstanding: a full ring keeps one entry free.</summary>
    public int Capacity => EntryCount - 1;

    public ulong SubmissionIova => _submissions.Iova;

    public ulong CompletionIova => _completions.Iova;

    /// <summary>Whether a completion waits.</summary>
    public bool HasCompletion
    {
        get
        {
            // SAFETY: _head < EntryCount, and the memory holds EntryCount entries until Dispose.
            var entry = (uint*)(_completions.Address + ((nint)_head * CompletionBytes));
            return ((Volatile.Read(ref entry[3]) >> 16) & 1) == _phase;
        }
    }

    /// <summary>Lets the ring announce its indexes in memory (NVM Express Base 2.0, section 5.8) instead of by registers.</summary>
    /// <param name="shadow">The shadow doorbell page.</param>
    /// <param name="events">The event index page.</param>
    /// <param name="strideBytes">Distance between doorbells, the same as in the BAR.</param>
    public void UseShadowDoorbells(nint shadow, nint events, ulong strideBytes)
    {
        var offset = (nint)((ulong)(2 * QueueId) * strideBytes);
        if ((ulong)offset + strideBytes + 4 > 4096)
        {
            return;
        }

        // SAFETY: the offsets lie within the 4096-byte pages, which outlive the ring.
        _shadowTail = (uint*)(shadow + offset);
        _shadowHead = (uint*)(shadow + offset + (nint)strideBytes);
        _eventTail = (uint*)(events + offset);
        _eventHead = (uint*)(events + offset + (nint)strideBytes);
    }

    /// <summary>Appends a command; the controller learns of it at <see cref="AnnounceSubmissions"/>.</summary>
    public void Push(in NvmeCommand command)
    {
        // SAFETY: _tail < EntryCount; the entry is free because no more than Capacity commands are outstanding.
        ((NvmeCommand*)_submissions.Address)[_tail] = command;
        _tail = _tail + 1 == (uint)EntryCount ? 0 : _tail + 1;
    }

    /// <summary>Tells the controller of the commands appended since the last call.</summary>
    public void AnnounceSubmissions()
    {
        if (_tail != _announcedTail)
        {
            Announce(_tail, ref _announcedTail, _shadowTail, _eventTail, _submissionDoorbell);
        }
    }

    /// <summary>Takes the next completion, copied out once.</summary>
    public bool TryPop(out NvmeCompletion completion)
    {
        if (!HasCompletion)
        {
            completion = default;
            return false;
        }

        // The volatile read of the phase in HasCompletion orders this copy after it: pairs with the controller writing the phase last.
        completion = ((NvmeCompletion*)_completions.Address)[_head];
        if (++_head == (uint)EntryCount)
        {
            _head = 0;
            _phase ^= 1;
        }

        return true;
    }

    /// <summary>Gives the entries taken since the last call back to the controller.</summary>
    public void AnnounceCompletions()
    {
        if (_head != _announcedHead)
        {
            Announce(_head, ref _announcedHead, _shadowHead, _eventHead, _completionDoorbell);
        }
    }

    /// <summary>Clears CC.EN and waits until the controller has stopped, without sleeping: for a reactor that cannot wait for the controller's thread.</summary>
    /// <param name="limit">How long to wait.</param>
    /// <returns>Whether it has stopped, or is gone.</returns>
    public bool TryStopController(TimeSpan limit)
    {
        var configuration = _bar.Read32(NvmeRegister.Configuration);
        if (configuration == NvmeRegister.Gone)
        {
            return true;
        }

        _bar.Write32(NvmeRegister.Configuration, configuration & ~NvmeRegister.ConfigurationEnable);
        var start = Stopwatch.GetTimestamp();
        while (_bar.Read32(NvmeRegister.Status) is var status && (status & NvmeRegister.StatusReady) != 0 && status != NvmeRegister.Gone)
        {
            if (Stopwatch.GetElapsedTime(start) > limit)
            {
                return false;
            }
        }

        return true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _submissions.Dispose();
        _completions.Dispose();
    }

    private void Announce(uint value, ref uint announced, uint* shadow, uint* eventIndex, ulong doorbell)
    {
        var old = announced;
        announced = value;
        if (shadow != null)
        {
            Volatile.Write(ref *shadow, value);
            // Store-load: the shadow must be visible before the event index is read. Pairs with the controller's fence between
            // writing the event index and reading the shadow once more before it sleeps.
            Interlocked.MemoryBarrier();
            var wanted = Volatile.Read(ref *eventIndex);
            if ((ushort)(value - wanted - 1) >= (ushort)(value - old))
            {
                return;
            }
        }

        _bar.Write32(doorbell, value);
    }
}
