using Microsoft.Extensions.Logging;
using Vhost.Linux;

namespace Vhost.Plugins.File;

/// <summary>
/// The open, locked file. It is closed, and its lock given up, when the source and every channel with system calls under way have
/// let go of it: so no number of a closed descriptor reaches the kernel, and nobody else opens the file while it is still being written.
/// </summary>
internal sealed partial class BackingFile
{
    private readonly FileDescriptor _descriptor;
    private readonly FileDescriptor? _reading;
    private readonly ILogger _logger;
    private int _references = 1;
    private int _syncFailed;
    private int _bounceNoted;
    private long _bouncedRequests;

    internal BackingFile(string bdevName, FileDescriptor descriptor, FileDescriptor? reading, BackingFileFacts facts, ILogger logger)
    {
        _descriptor = descriptor;
        _reading = reading;
        _logger = logger;
        Facts = facts;
        Descriptor = descriptor.Raw;
        ReadingDescriptor = reading?.Raw ?? FileTable.None;
        BdevName = bdevName;
        Workers = new BlockingWorkers(bdevName);
        CanPunch = facts.CanPunch;
        CanReadNow = !facts.IsInMemory && facts.AlignmentBytes == 1;
    }

    /// <summary>The bdev's name, for the log.</summary>
    public string BdevName { get; }

    /// <summary>What was found out when it was opened.</summary>
    public BackingFileFacts Facts { get; }

    /// <summary>The descriptor's number; valid while a reference is held.</summary>
    public int Descriptor { get; }

    /// <summary>The number of another descriptor, which only reads and holds no lock, for an io_uring's table; <see cref="FileTable.None"/> where there is none.</summary>
    public int ReadingDescriptor { get; }

    /// <summary>Threads for system calls that block.</summary>
    public BlockingWorkers Workers { get; }

    /// <summary>Whether the file system punches holes; false once it refused.</summary>
    public bool CanPunch { get; set; }

    /// <summary>Whether the file system zeroes ranges; false once it refused.</summary>
    public bool CanZeroRange { get; set; } = true;

    /// <summary>Whether reads may be tried at the page cache: it is used, and the file system knows reads that do not wait. False once it refused.</summary>
    public bool CanReadNow { get; set; }

    /// <summary>How many requests went through a bounce buffer.</summary>
    public long BouncedRequests => Volatile.Read(ref _bouncedRequests);

    /// <summary>
    /// Whether a sync has failed. The kernel reports such a failure once and then takes the lost pages for clean, so a later sync that
    /// succeeds proves nothing: from the first failure on, all syncs fail.
    /// </summary>
    public bool HasSyncFailed => Volatile.Read(ref _syncFailed) != 0;

    /// <summary>Length now, in bytes.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public ulong GetSizeBytes() => Facts.IsBlockDevice ? BlockDevice.GetSize(Descriptor) : FileStatus.Of(Descriptor).Size;

    /// <summary>Holds the file open.</summary>
    public void AddReference() => Interlocked.Increment(ref _references);

    /// <summary>Lets go of the file.</summary>
    public void Release()
    {
        if (Interlocked.Decrement(ref _references) == 0)
        {
            Workers.Stop();
            _reading?.Dispose();
            _descriptor.Dispose();
        }
    }

    /// <summary>Notes that a sync failed.</summary>
    /// <param name="error">The positive error number.</param>
    public void ReportSyncFailure(int error)
    {
        if (Interlocked.Exchange(ref _syncFailed, 1) == 0)
        {
            LogSyncFailed(_logger, BdevName, Facts.Path, Errno.Describe(error));
        }
    }

    /// <summary>Counts a request that goes through a bounce buffer.</summary>
    public void CountBounce()
    {
        Interlocked.Increment(ref _bouncedRequests);
        if (_bounceNoted == 0 && Interlocked.Exchange(ref _bounceNoted, 1) == 0)
        {
            LogBouncedForDirectIo(_logger, BdevName, Facts.AlignmentBytes);
        }
    }

    [LoggerMessage(EventId = 3200, Level = LogLevel.Critical, Message = "bdev {Name}: writing {Path} to stable storage failed ({Error}). Data that was written since "
        + "the last successful flush may be lost. Flushes fail from now on. Find the cause in the kernel's log, restart vhostd, and check the guest's file system")]
    private static partial void LogSyncFailed(ILogger logger, string name, string path, string error);

    [LoggerMessage(EventId = 3201, Level = LogLevel.Information, Message = "bdev {Name}: the guest uses buffers that O_DIRECT cannot use as they are (not aligned to "
        + "{Alignment} bytes, or device memory); such requests are copied once more")]
    private static partial void LogBouncedForDirectIo(ILogger logger, string name, uint alignment);
}

/// <summary>What does not change while the file is open.</summary>
internal sealed record BackingFileFacts
{
    /// <summary>Full path.</summary>
    public required string Path { get; init; }

    /// <summary>Whether it is a block device.</summary>
    public required bool IsBlockDevice { get; init; }

    /// <summary>Device and inode, to recognise that the path leads elsewhere now.</summary>
    public required (ulong Device, ulong Inode) Identity { get; init; }

    /// <summary>Whether the file lies in memory (tmpfs), so that its system calls copy and do not wait for a disk.</summary>
    public required bool IsInMemory { get; init; }

    /// <summary>Alignment that memory, offset and length need: 1 through the page cache.</summary>
    public required uint AlignmentBytes { get; init; }

    /// <summary>Smallest piece that is written without a read before it.</summary>
    public required uint PhysicalBlockSizeBytes { get; init; }

    /// <summary>Whether ranges can be released.</summary>
    public required bool CanDiscard { get; init; }

    /// <summary>Whether the range of a hole reads as zeroes and can be made.</summary>
    public required bool CanPunch { get; init; }

    /// <summary>Granularity of the device's own commands on ranges; 1 for files.</summary>
    public required uint RangeAlignmentBytes { get; init; }

    /// <summary>Whether the medium rotates.</summary>
    public required bool IsRotational { get; init; }
}
