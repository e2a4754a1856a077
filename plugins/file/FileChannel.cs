using Vhost.Abstractions;

namespace Vhost.Plugins.File;

/// <summary>One reactor's way into one file. All of the work is done in the reactor's queue; here is what belongs to this user of it.</summary>
internal sealed class FileChannel : IBdevChannel
{
    private readonly ReactorQueue _queue;
    private readonly IBdevCompletions _completions;
    private BlockRequestPointer[] _done = new BlockRequestPointer[ReactorQueue.SlotCount];
    private BlockRequestPointer[] _delivering = new BlockRequestPointer[ReactorQueue.SlotCount];
    private int _doneCount;

    /// <summary>Joins a queue.</summary>
    /// <param name="queue">The reactor's queue; this channel holds a reference to it.</param>
    /// <param name="file">The file; this channel takes a reference.</param>
    /// <param name="blockSizeBytes">The bdev's block size.</param>
    /// <param name="completions">Takes the completions.</param>
    public FileChannel(ReactorQueue queue, BackingFile file, uint blockSizeBytes, IBdevCompletions completions)
    {
        _queue = queue;
        _completions = completions;
        File = file;
        BlockSizeBytes = blockSizeBytes;
        file.AddReference();
        (Index, FileNumber) = queue.Join(this);
    }

    /// <summary>The file.</summary>
    public BackingFile File { get; }

    /// <summary>The bdev's block size.</summary>
    public uint BlockSizeBytes { get; }

    /// <summary>Its place in the queue.</summary>
    public int Index { get; }

    /// <summary>Its file's number in the queue's io_uring, or <see cref="FileTable.None"/>.</summary>
    public int FileNumber { get; }

    /// <summary>Slots in use.</summary>
    public int SlotsInUse { get; set; }

    /// <summary>How many reads are not tried at the page cache, because some missed it.</summary>
    public int ReadsToSkip { get; set; }

    /// <summary>How many that will be after the next miss, about half of it; 0 after a hit.</summary>
    public int ReadPenalty { get; set; }

    /// <summary>Whether the user is gone. Slots may still be in use then.</summary>
    public bool IsClosed { get; private set; }

    /// <inheritdoc/>
    public void Submit(ReadOnlySpan<BlockRequestPointer> requests) => _queue.Submit(this, requests);

    /// <inheritdoc/>
    public void Abort(BlockRequestPointer request) => _queue.Abort(this, request);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!IsClosed)
        {
            IsClosed = true;
            _queue.Close(this);
        }
    }

    /// <summary>Notes a completed request.</summary>
    /// <param name="request">The request, with its status.</param>
    /// <returns>Whether it is the first since the last delivery.</returns>
    public unsafe bool AddDone(BlockRequest* request)
    {
        if (_doneCount == _done.Length)
        {
            // More than slots: only a long queue of requests that failed at once gets here.
            Array.Resize(ref _done, 2 * _done.Length);
            _delivering = new BlockRequestPointer[_done.Length];
        }

        _done[_doneCount++] = new BlockRequestPointer(request);
        return _doneCount == 1;
    }

    /// <summary>Hands over what is done. The receiver may submit and close from within.</summary>
    public void Deliver()
    {
        var count = _doneCount;
        (_done, _delivering) = (_delivering, _done);
        _doneCount = 0;
        if (!IsClosed && count > 0)
        {
            _completions.OnCompleted(_delivering.AsSpan(0, count));
        }
    }
}
