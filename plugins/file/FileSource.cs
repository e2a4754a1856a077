using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.Plugins.File;

/// <summary>Opens the file, publishes its bdev, and looks once a second whether the file has another size.</summary>
/// <param name="context">What the host gives the source.</param>
/// <param name="options">Valid options.</param>
internal sealed partial class FileSource(BdevSourceContext context, FileBdevOptions options) : IBdevSource, IAdjustable
{
    private static readonly TimeSpan WatchPeriod = TimeSpan.FromSeconds(1);
    private static int _fallbackNoted;

    private readonly CancellationTokenSource _stop = new();
    private readonly Lock _lookLock = new();
    private Task _watch = Task.CompletedTask;
    private FileBdev? _bdev;
    private BackingFile? _file;
    private bool _isReplaced;
    private bool _isTooSmall;

    /// <inheritdoc/>
    public ValueTask StartAsync(CancellationToken cancellationToken)
    {
        var useIoUring = ChooseIoUring();
        _file = new BackingFileOpener(context.Name, options, context.Logger).Open();
        var bdev = new FileBdev(context.Name, options, _file, useIoUring, context.Logger);
        context.Publisher.Publish(bdev);
        _bdev = bdev;
        _watch = WatchAsync(bdev, _file, _stop.Token);
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _watch.ConfigureAwait(false);
        Interlocked.Exchange(ref _file, null)?.Release();
    }

    /// <summary>Looks at the size at once where the options are the same; others need the file to be opened again.</summary>
    /// <param name="options">The options.</param>
    public bool TryAdjust(object options)
    {
        if (!IsSame((FileBdevOptions)options) || _bdev is not { } bdev || _file is not { } file)
        {
            return false;
        }

        Look(bdev, file);
        return true;
    }

    private bool IsSame(FileBdevOptions other) =>
        typeof(FileBdevOptions).GetProperties().All(property => Equals(property.GetValue(options), property.GetValue(other)));

    private bool ChooseIoUring()
    {
        if (options.IoEngine == "threads")
        {
            return false;
        }

        var reason = IoUring.WhyUnavailable(
            IoUringOperation.Read,
            IoUringOperation.Write,
            IoUringOperation.ReadVector,
            IoUringOperation.WriteVector,
            IoUringOperation.Fsync,
            IoUringOperation.Fallocate,
            IoUringOperation.Cancel);
        if (reason is not null && options.IoEngine == "io_uring")
        {
            throw new IOException($"bdev {context.Name}: io_uring cannot be used: {reason}; or set \"ioEngine\": \"auto\", which uses threads then");
        }

        if (reason is not null && Interlocked.Exchange(ref _fallbackNoted, 1) == 0)
        {
            LogWithoutIoUring(context.Logger, context.Name, reason);
        }

        return reason is null;
    }

    private async Task WatchAsync(FileBdev bdev, BackingFile file, CancellationToken stop)
    {
        using var timer = new PeriodicTimer(WatchPeriod);
        try
        {
            while (await timer.WaitForNextTickAsync(stop).ConfigureAwait(false))
            {
                try
                {
                    Look(bdev, file);
                }
                catch (Exception e) when (e is IOException or InvalidOperationException)
                {
                    LogSizeNotRead(context.Logger, context.Name, e.Message);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The source is disposed.
        }
    }

    private void Look(FileBdev bdev, BackingFile file)
    {
        lock (_lookLock)
        {
            LookInTurn(bdev, file);
        }
    }

    private void LookInTurn(FileBdev bdev, BackingFile file)
    {
        var size = file.GetSizeBytes();
        var before = bdev.Info.BlockCount;
        if (size < bdev.Info.BlockSizeBytes)
        {
            if (!_isTooSmall)
            {
                _isTooSmall = true;
                LogTooSmall(context.Logger, context.Name, file.Facts.Path, size);
            }
        }
        else
        {
            _isTooSmall = false;
            if (bdev.Resize(size))
            {
                LogResized(context.Logger, context.Name, before, bdev.Info.BlockCount);
                context.Publisher.NotifyChanged(context.Name);
            }
        }

        if (!_isReplaced && !file.Facts.IsBlockDevice && !IsStillAt(file))
        {
            _isReplaced = true;
            LogFileReplaced(context.Logger, context.Name, file.Facts.Path);
        }
    }

    private static bool IsStillAt(BackingFile file)
    {
        try
        {
            var status = FileStatus.Of(file.Facts.Path);
            return (status.Device, status.Inode) == file.Facts.Identity;
        }
        catch (LinuxException e) when (e.Error is Errno.ENOENT or Errno.ENOTDIR)
        {
            return false;
        }
    }

    [LoggerMessage(EventId = 3204, Level = LogLevel.Warning, Message = "bdev {Name}: io_uring cannot be used, so blocking threads do the I/O, which is slower: {Reason}")]
    private static partial void LogWithoutIoUring(ILogger logger, string name, string reason);

    [LoggerMessage(EventId = 3205, Level = LogLevel.Information, Message = "bdev {Name}: resized from {Before} to {After} blocks")]
    private static partial void LogResized(ILogger logger, string name, ulong before, ulong after);

    [LoggerMessage(EventId = 3206, Level = LogLevel.Error, Message = "bdev {Name}: {Path} was cut to {Size} bytes, less than one block; requests will fail until it is grown again")]
    private static partial void LogTooSmall(ILogger logger, string name, string path, ulong size);

    [LoggerMessage(EventId = 3207, Level = LogLevel.Error, Message = "bdev {Name}: {Path} was deleted or replaced while in use. The guest goes on with the old file, whose "
        + "data is lost when vhostd stops: copy it away from inside the guest, or undo the replacement now (/proc/PID/fd still has the old file)")]
    private static partial void LogFileReplaced(ILogger logger, string name, string path);

    [LoggerMessage(EventId = 3208, Level = LogLevel.Warning, Message = "bdev {Name}: its size cannot be looked at: {Reason}")]
    private static partial void LogSizeNotRead(ILogger logger, string name, string reason);
}
