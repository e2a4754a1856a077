using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.Plugins.File;

/// <summary>
/// All file I/O of one reactor: one io_uring, or none where workers do everything, shared by every channel that was opened there. It takes
/// batches and makes one submitting system call for each; it reaps as a poller. What a request goes through stands in the other half of
/// this class. Reactor thread only, except <see cref="CompleteFromWorker"/>.
/// </summary>
// SAFETY: slots and the head of the workers' list are native memory that lives as long as the queue, and the queue lives until its last
// slot is free. Requests are touched only while their channel is open (the contract keeps them alive that long).
internal sealed unsafe partial class ReactorQueue : IPoller, IDisposable
{
    /// <summary>How many requests are under way at most; more wait in line.</summary>
    public const int SlotCount = 1024;

    private const uint SubmissionEntries = 256;
    private const int CompletionsPerPoll = 64;
    private const int ShortBatch = 4; // where entering the io_uring costs each request more than a call of its own
    private const int None = -1;
    private const ulong CancellationUserData = ulong.MaxValue;
    private const nuint CacheLineBytes = 128; // with its neighbour, which the CPU fetches along

    private readonly IoUring? _ring;
    private readonly FileTable _files;
    private readonly EventFd _wake;
    private readonly IPollerRegistration _registration;
    private readonly FileSlot* _slots;
    private readonly int* _workerDone; // first slot that workers have finished: a list that they push to and the reactor takes whole
    private readonly int* _workersInside; // workers that are about to signal; Dispose waits for them
    private readonly BouncePool _bounces = new();
    private readonly List<FileChannel?> _channels = [];
    private readonly List<FileChannel> _toDeliver = [];
    private int _freeSlot;
    private SlotList _again = SlotList.Empty;
    private SlotList _awaitBounce = SlotList.Empty;
    private BlockRequest* _firstWaiting;
    private BlockRequest* _lastWaiting;
    private bool _isArmed;
    private bool _isShortBatch;
    private bool _isDelivering;

    /// <summary>Creates the queue and polls it.</summary>
    /// <param name="reactor">The reactor whose thread this is.</param>
    /// <param name="useIoUring">Whether by io_uring.</param>
    public ReactorQueue(IReactor reactor, bool useIoUring)
    {
        Reactor = reactor;
        UsesIoUring = useIoUring;
        _wake = EventFd.Create();
        _ring = useIoUring ? CreateRing(_wake) : null;
        _files = new FileTable(_ring);
        _workerDone = (int*)NativeMemory.AlignedAlloc(CacheLineBytes, CacheLineBytes);
        _workersInside = _workerDone + 1;
        *_workerDone = None;
        *_workersInside = 0;
        _slots = (FileSlot*)NativeMemory.AlignedAlloc((nuint)(SlotCount * sizeof(FileSlot)), CacheLineBytes);
        new Span<FileSlot>(_slots, SlotCount).Clear();
        for (var i = 0; i < SlotCount; i++)
        {
            _slots[i].Next = i + 1 < SlotCount ? i + 1 : None;
        }

        _registration = reactor.AddPoller("file I/O", this, _wake.Raw);
    }

    /// <summary>The reactor.</summary>
    public IReactor Reactor { get; }

    /// <summary>Whether it has an io_uring.</summary>
    public bool UsesIoUring { get; }

    /// <summary>References, kept by <see cref="ReactorQueues"/>.</summary>
    public int References { get; set; }

    /// <summary>How many system calls submitted to the io_uring.</summary>
    public long SubmitCalls { get; private set; }

    /// <summary>How many system calls the io_uring took, for submitting and for all else. Any thread.</summary>
    public long RingCalls => _ring?.EnterCount ?? 0;

    /// <summary>Adds a channel.</summary>
    /// <param name="channel">The channel.</param>
    /// <returns>Its index, and its file's number in the io_uring's table.</returns>
    public (int Index, int FileNumber) Join(FileChannel channel)
    {
        var index = _channels.IndexOf(null);
        if (index < 0)
        {
            index = _channels.Count;
            _channels.Add(null);
        }

        _channels[index] = channel;
        return (index, _files.Add(index, channel.File.ReadingDescriptor));
    }

    /// <summary>Which channel a slot belongs to.</summary>
    /// <param name="slot">A slot in use.</param>
    public int ChannelOf(int slot) => _slots[slot].Channel;

    /// <summary>Starts a batch and submits it.</summary>
    /// <param name="channel">Whose batch.</param>
    /// <param name="requests">The requests.</param>
    public void Submit(FileChannel channel, ReadOnlySpan<BlockRequestPointer> requests)
    {
        _isShortBatch = requests.Length <= ShortBatch;
        foreach (var request in requests)
        {
            if (_freeSlot == None || _firstWaiting != null)
            {
                Wait(channel, request.Pointer);
            }
            else
            {
                Start(channel, request.Pointer);
            }
        }

        _isShortBatch = false;
        Flush();
        if (_isArmed)
        {
            _registration.Activate();
        }
    }

    /// <summary>
    /// Ends a request early if it still waits here, or in the kernel for its turn; what a disk or a thread has begun runs to its end.
    /// </summary>
    /// <param name="channel">Whose request.</param>
    /// <param name="request">The request.</param>
    public void Abort(FileChannel channel, BlockRequestPointer request)
    {
        if (TryForgetWaiting(request.Pointer))
        {
            Complete(channel, request.Pointer, BlockStatus.Aborted);
        }
        else
        {
            for (var i = 0; i < SlotCount && _ring is not null; i++)
            {
                if (_slots[i].Request == request.Pointer)
                {
                    Cancel(i);
                }
            }
        }

        Flush();
    }

    /// <summary>
    /// Ends a channel. Its requests that have not begun are forgotten; those under way are cancelled where the kernel can, and keep the file
    /// and this queue alive until they are done.
    /// </summary>
    /// <param name="channel">The channel, marked as closed.</param>
    public void Close(FileChannel channel)
    {
        ForgetWaiting(channel);
        if (channel.SlotsInUse > 0)
        {
            channel.File.Workers.Cancel(this, channel.Index);
            for (var i = 0; i < SlotCount; i++)
            {
                if (_slots[i].Request == null || _slots[i].Channel != channel.Index)
                {
                    continue;
                }

                _slots[i].Request = null;
                Cancel(i);
            }

            Flush();
        }

        LeaveIfDone(channel);
    }

    /// <inheritdoc/>
    public int Poll()
    {
        var handled = ReapRing() + ReapWorkers();
        IssueAgain();
        while (_firstWaiting != null && _freeSlot != None)
        {
            StartWaiting();
        }

        Flush();
        return handled;
    }

    /// <inheritdoc/>
    public bool TryArm()
    {
        // The fence after enabling is in SetEventFdEnabled; it pairs with the kernel's, which publishes a completion before it looks whether to
        // signal. Workers signal whenever their list was empty, so for them no fence is needed.
        _ring?.SetEventFdEnabled(true);
        if ((_ring is not null && (_ring.HasCompletions || _ring.Unsubmitted > 0)) || Volatile.Read(ref *_workerDone) != None || !_again.IsEmpty)
        {
            _ring?.SetEventFdEnabled(false);
            return false;
        }

        _isArmed = true;
        return true;
    }

    /// <inheritdoc/>
    public void Disarm()
    {
        _isArmed = false;
        _ring?.SetEventFdEnabled(false);
    }

    /// <summary>Takes the result of a command from a worker. Any thread.</summary>
    /// <param name="slot">The slot; it belongs to the reactor again after this.</param>
    /// <param name="result">The result.</param>
    public void CompleteFromWorker(int slot, int result)
    {
        Interlocked.Increment(ref *_workersInside);
        _slots[slot].Result = result;
        int first;
        do
        {
            first = Volatile.Read(ref *_workerDone);
            _slots[slot].Next = first;
        }
        while (Interlocked.CompareExchange(ref *_workerDone, slot, first) != first);

        // The reactor takes the whole list at once: whoever finds it empty has to tell.
        if (first == None)
        {
            _ = EventFd.SignalRaw(_wake.Raw);
        }

        Interlocked.Decrement(ref *_workersInside);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _registration.Dispose();
        while (Volatile.Read(ref *_workersInside) != 0)
        {
            Thread.SpinWait(1); // for the length of one system call
        }

        _ring?.Dispose();
        _wake.Dispose();
        _bounces.Dispose();
        NativeMemory.AlignedFree(_slots);
        NativeMemory.AlignedFree(_workerDone);
    }

    private static IoUring CreateRing(EventFd wake)
    {
        const IoUringSetup Setup = IoUringSetup.SingleIssuer | IoUringSetup.DeferTaskRun | IoUringSetup.CooperativeTaskRun
            | IoUringSetup.TaskRunFlag | IoUringSetup.SubmitAll;
        IoUring? ring = null;
        try
        {
            ring = IoUring.Create(SubmissionEntries, Setup, completionEntries: 2 * SlotCount);
            ring.RegisterEventFd(wake.Raw);
            ring.SetEventFdEnabled(false);
            return ring;
        }
        catch
        {
            ring?.Dispose();
            wake.Dispose();
            throw;
        }
    }

    private int ReapRing()
    {
        if (_ring is null || !_ring.HasCompletions)
        {
            return 0;
        }

        Unsafe.SkipInit(out CompletionBuffer buffer);
        Span<IoUringCompletion> completions = buffer;
        var count = _ring.Reap(completions);
        for (var i = 0; i < count; i++)
        {
            var userData = completions[i].UserData;
            if (userData != CancellationUserData)
            {
                OnResult((int)userData, completions[i].Result);
            }
        }

        return count;
    }

    private int ReapWorkers()
    {
        if (Volatile.Read(ref *_workerDone) == None)
        {
            return 0;
        }

        var count = 0;
        for (var slot = Interlocked.Exchange(ref *_workerDone, None); slot != None; count++)
        {
            var next = _slots[slot].Next;
            OnResult(slot, _slots[slot].Result);
            slot = next;
        }

        return count;
    }

    /// <summary>Submits what is prepared and hands over what is done.</summary>
    private void Flush()
    {
        SubmitRing();
        if (_isDelivering)
        {
            return; // called from within a receiver: the loop below goes on
        }

        _isDelivering = true;
        try
        {
            for (var i = 0; i < _toDeliver.Count; i++)
            {
                _toDeliver[i].Deliver();
            }
        }
        finally
        {
            _toDeliver.Clear();
            _isDelivering = false;
        }
    }

    private void SubmitRing()
    {
        if (_ring is null || _ring.Unsubmitted == 0)
        {
            return;
        }

        SubmitCalls++;
        var result = _ring.Submit();
        if (result < 0 && result is not (-Errno.EAGAIN or -Errno.EBUSY))
        {
            // Those two mean: later. The entries stay in the ring, and the next turn submits them.
            throw new LinuxException("io_uring_enter", -result, $"{_ring.Unsubmitted} requests");
        }
    }

    private void Complete(FileChannel channel, BlockRequest* request, BlockStatus status)
    {
        request->Status = status;
        request->Information = 0;
        if (channel.AddDone(request))
        {
            _toDeliver.Add(channel);
        }
    }

    // A waiting request has no slot; it is linked through its own scratch words: the next one, and its channel.
    private void Wait(FileChannel channel, BlockRequest* request)
    {
        request->BdevScratch[0] = 0;
        request->BdevScratch[1] = (ulong)channel.Index;
        if (_firstWaiting == null)
        {
            _firstWaiting = request;
        }
        else
        {
            _lastWaiting->BdevScratch[0] = (ulong)request;
        }

        _lastWaiting = request;
    }

    private void StartWaiting()
    {
        var request = _firstWaiting;
        _firstWaiting = (BlockRequest*)request->BdevScratch[0];
        Start(_channels[(int)request->BdevScratch[1]]!, request);
    }

    private void ForgetWaiting(FileChannel channel)
    {
        var request = _firstWaiting;
        _firstWaiting = null;
        while (request != null)
        {
            var next = (BlockRequest*)request->BdevScratch[0];
            var owner = (int)request->BdevScratch[1];
            if (owner != channel.Index)
            {
                Wait(_channels[owner]!, request);
            }

            request = next;
        }
    }

    private bool TryForgetWaiting(BlockRequest* wanted)
    {
        var found = false;
        var request = _firstWaiting;
        _firstWaiting = null;
        while (request != null)
        {
            var next = (BlockRequest*)request->BdevScratch[0];
            if (request == wanted)
            {
                found = true;
            }
            else
            {
                Wait(_channels[(int)request->BdevScratch[1]]!, request);
            }

            request = next;
        }

        return found;
    }

    /// <summary>Asks the kernel to let go of a slot's system call. Its completion comes all the same.</summary>
    private void Cancel(int index)
    {
        if (_ring is null)
        {
            return;
        }

        var entry = _ring.TryGetEntry();
        if (entry == null)
        {
            SubmitRing();
            entry = _ring.TryGetEntry();
        }

        if (entry != null)
        {
            entry->PrepareCancel((ulong)index, CancellationUserData);
        }
    }

    private void FreeSlot(int index, FileChannel channel)
    {
        if (_slots[index].Bounce != None)
        {
            _bounces.Return(_slots[index].Bounce);
        }

        _slots[index].Request = null;
        _slots[index].Next = _freeSlot;
        _freeSlot = index;
        channel.SlotsInUse--;
        LeaveIfDone(channel);
    }

    private void LeaveIfDone(FileChannel channel)
    {
        if (channel.IsClosed && channel.SlotsInUse == 0)
        {
            _channels[channel.Index] = null;
            _files.Remove(channel.FileNumber);
            channel.File.Release();

            // Not at once: this may run within a turn of this very queue.
            Reactor.Post(static queue => ReactorQueues.Release((ReactorQueue)queue!), this);
        }
    }

    [InlineArray(CompletionsPerPoll)]
    private struct CompletionBuffer
    {
        private IoUringCompletion _first;
    }
}
