using System.Globalization;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.Plugins.File;

/// <summary>A bdev in a file or on a host block device.</summary>
internal sealed partial class FileBdev : IChannelBdev, IDetailSource
{
    private readonly BackingFile _file;
    private readonly ILogger _logger;
    private volatile bool _useIoUring;
    private BdevInfo _info;

    /// <summary>Creates the bdev.</summary>
    /// <param name="name">The bdev's name.</param>
    /// <param name="options">Valid options.</param>
    /// <param name="file">The open file; the source owns it.</param>
    /// <param name="useIoUring">Whether to use io_uring.</param>
    /// <param name="logger">Takes the log lines.</param>
    public FileBdev(string name, FileBdevOptions options, BackingFile file, bool useIoUring, ILogger logger)
    {
        _logger = logger;
        Name = name;
        _file = file;
        _useIoUring = useIoUring;
        var facts = file.Facts;
        var blockSize = (uint)options.BlockSize;
        var operations = BlockOperations.Read | BlockOperations.Flush;
        if (!options.ReadOnly)
        {
            operations |= BlockOperations.Write | BlockOperations.WriteZeroes | (facts.CanDiscard ? BlockOperations.Discard : 0);
        }

        _info = new BdevInfo
        {
            BlockSizeBytes = blockSize,
            BlockCount = file.GetSizeBytes() / blockSize,
            Uuid = options.Uuid is null ? null : Guid.Parse(options.Uuid),
            ProductName = facts.IsBlockDevice ? "Host disk" : "File disk",
            Operations = operations,
            IsReadOnly = options.ReadOnly,
            HasVolatileWriteCache = !options.ReadOnly,
            HasForceUnitAccess = true,
            DiscardReadsZeroes = !facts.IsBlockDevice && facts.CanPunch,
            PhysicalBlockSizeBytes = Math.Max(blockSize, facts.PhysicalBlockSizeBytes),
            DiscardGranularityBlocks = Math.Max(1, facts.PhysicalBlockSizeBytes / blockSize),
            IsRotational = facts.IsRotational,
        };
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <inheritdoc/>
    public BdevInfo Info => Volatile.Read(ref _info);

    /// <summary>Takes a new size.</summary>
    /// <param name="sizeBytes">Size of the file, at least one block.</param>
    /// <returns>Whether that is a change.</returns>
    public bool Resize(ulong sizeBytes)
    {
        var info = Info;
        var blockCount = sizeBytes / info.BlockSizeBytes;
        if (blockCount == info.BlockCount)
        {
            return false;
        }

        Volatile.Write(ref _info, info with { BlockCount = blockCount });
        return true;
    }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> GetDetails() => new Dictionary<string, string>
    {
        ["path"] = _file.Facts.Path,
        ["io_engine"] = _useIoUring ? "io_uring" : "threads",
        // One io_uring serves all file bdevs of a reactor, so this is not of this one alone.
        ["io_uring_calls"] = ReactorQueues.CountRingCalls().ToString(CultureInfo.InvariantCulture),
        ["direct"] = _file.Facts.AlignmentBytes > 1 ? "true" : "false",
        ["bounced_requests"] = _file.BouncedRequests.ToString(CultureInfo.InvariantCulture),
        ["sync_failed"] = _file.HasSyncFailed ? "true" : "false",
    };

    /// <inheritdoc/>
    public IBdevChannel OpenChannel(IReactor reactor, IBdevCompletions completions) =>
        new FileChannel(GetQueue(reactor), _file, Info.BlockSizeBytes, completions);

    private ReactorQueue GetQueue(IReactor reactor)
    {
        if (_useIoUring)
        {
            try
            {
                return ReactorQueues.Get(reactor, useIoUring: true);
            }
            catch (LinuxException e)
            {
                // It was there at the start, so a limit was met. Slower is better than no disk.
                _useIoUring = false;
                LogReactorWithoutIoUring(_logger, Name, reactor.Id, e.Message);
            }
        }

        return ReactorQueues.Get(reactor, useIoUring: false);
    }

    [LoggerMessage(EventId = 3203, Level = LogLevel.Warning, Message = "bdev {Name}: reactor {Reactor} gets no io_uring, so blocking threads do the I/O, which is slower: {Reason}")]
    private static partial void LogReactorWithoutIoUring(ILogger logger, string name, int reactor, string reason);
}
