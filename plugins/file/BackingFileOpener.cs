using System.Globalization;
using Microsoft.Extensions.Logging;
using Vhost.Linux;

namespace Vhost.Plugins.File;

/// <summary>Opens, creates, locks and examines a file. Each failure says what to do. Control threads only: it blocks.</summary>
/// <param name="bdevName">The bdev's name, for messages.</param>
/// <param name="options">Valid options.</param>
/// <param name="logger">Takes the log lines.</param>
internal sealed unsafe partial class BackingFileOpener(string bdevName, FileBdevOptions options, ILogger logger)
{
    private readonly string _path = Path.GetFullPath(options.Path);

    /// <summary>Opens the file.</summary>
    /// <exception cref="IOException">It cannot be used; the message says why and what to do.</exception>
    public BackingFile Open()
    {
        FileKind? kind = TryGetKind();
        if (kind is null && options.Create)
        {
            CreateFile();
            kind = FileKind.Regular;
        }

        if (kind is not (null or FileKind.Regular or FileKind.BlockDevice))
        {
            throw Failure($"is neither a regular file nor a block device ({kind})", "name one of these");
        }

        FileDescriptor descriptor = OpenExisting(kind == FileKind.BlockDevice);
        try
        {
            Lock(descriptor);
            var facts = Examine(descriptor);
            return new BackingFile(bdevName, descriptor, TryOpenForReading(descriptor, facts), facts, logger);
        }
        catch
        {
            descriptor.Dispose();
            throw;
        }
    }

    private FileKind? TryGetKind()
    {
        try
        {
            return FileStatus.Of(_path).Kind;
        }
        catch (LinuxException e) when (e.Error is Errno.ENOENT)
        {
            return null;
        }
        catch (LinuxException e)
        {
            throw Explain(e);
        }
    }

    private void CreateFile()
    {
        try
        {
            using FileDescriptor created = FileIo.Open(_path, OpenMode.ReadWrite | OpenMode.Create | OpenMode.Exclusive);
            FileIo.SetLength(created.Raw, (ulong)options.SizeMiB!.Value << 20);
            ThrowOnError(FileIo.TryDataSync(created.Raw));

            // The name is durable when its directory is.
            using FileDescriptor directory = FileIo.Open(Path.GetDirectoryName(_path)!, OpenMode.ReadOnly | OpenMode.Directory);
            ThrowOnError(FileIo.TryDataSync(directory.Raw));
            LogFileCreated(logger, bdevName, _path, options.SizeMiB.Value);
        }
        catch (LinuxException e) when (e.Error == Errno.EEXIST)
        {
            // Somebody else was faster; the lock decides who may use it.
        }
        catch (LinuxException e) when (e.Error == Errno.ENOENT)
        {
            throw Failure("cannot be created: its directory does not exist", $"mkdir -p {Path.GetDirectoryName(_path)}", e);
        }
        catch (LinuxException e) when (e.Error == Errno.EFBIG)
        {
            throw Failure($"cannot be created with {options.SizeMiB} MiB: the file system has no files so large", "lower sizeMiB", e);
        }
        catch (LinuxException e)
        {
            throw Explain(e);
        }

        void ThrowOnError(int result)
        {
            if (result < 0)
            {
                throw new LinuxException("fdatasync", -result, _path);
            }
        }
    }

    private FileDescriptor OpenExisting(bool isBlockDevice)
    {
        OpenMode mode = options.ReadOnly ? OpenMode.ReadOnly : OpenMode.ReadWrite;
        mode |= options.Direct ? OpenMode.Direct : 0;

        // Without O_CREAT, O_EXCL on a block device means: not while it is mounted or part of a volume.
        mode |= isBlockDevice && !options.ReadOnly && !options.Migration ? OpenMode.Exclusive : 0;
        try
        {
            return OpenWithoutAccessTimes(_path, mode);
        }
        catch (LinuxException e)
        {
            throw Explain(e);
        }
    }

    /// <summary>When a disk was last read says nothing to anybody, and to look whether it is to be noted costs each read some 5 % of its time.</summary>
    private static FileDescriptor OpenWithoutAccessTimes(string path, OpenMode mode)
    {
        try
        {
            return FileIo.Open(path, mode | OpenMode.NoAccessTime);
        }
        catch (LinuxException e) when (e.Error == Errno.EPERM)
        {
            // Somebody else's file. Where it may not be opened at all, the second attempt says so.
            return FileIo.Open(path, mode);
        }
    }

    /// <summary>
    /// Opens the very file once more, for an io_uring's table. Not where somebody else's file system may hold reads by another descriptor against the lock, and not where
    /// reads do not go through the io_uring.
    /// </summary>
    private FileDescriptor? TryOpenForReading(FileDescriptor descriptor, BackingFileFacts facts)
    {
        if (facts.IsInMemory || !(facts.IsBlockDevice || FileSystemType.IsOnLocalDisk(descriptor.Raw)))
        {
            return null;
        }

        try
        {
            return OpenWithoutAccessTimes($"/proc/self/fd/{descriptor.Raw}", OpenMode.ReadOnly | (options.Direct ? OpenMode.Direct : 0));
        }
        catch (LinuxException)
        {
            return null; // It only makes reads faster.
        }
    }

    private void Lock(FileDescriptor descriptor)
    {
        bool isLocked;
        try
        {
            isLocked = FileLock.TryLock(descriptor.Raw, exclusive: !options.ReadOnly && !options.Migration);
        }
        catch (LinuxException e)
        {
            throw Failure($"cannot be locked ({Errno.Describe(e.Error)})", "two writers would destroy the data, so use a file system with locks", e);
        }

        if (!isLocked)
        {
            string holder = LockHolder.Find(FileStatus.Of(descriptor.Raw)) ?? "a process that this user may not see (try as root: lslocks)";
            throw Failure($"is in use by {holder}", options.ReadOnly ? "stop the one that writes it" : "stop that one, or make both read-only");
        }
    }

    private BackingFileFacts Examine(FileDescriptor descriptor)
    {
        int fd = descriptor.Raw;
        FileStatus status = FileStatus.Of(fd);
        bool isBlockDevice = status.Kind == FileKind.BlockDevice;
        if (isBlockDevice && !options.ReadOnly && BlockDevice.IsReadOnly(fd))
        {
            throw Failure("is a read-only device", "set \"readOnly\": true");
        }

        var blockSize = (uint)options.BlockSize;
        ulong size = isBlockDevice ? BlockDevice.GetSize(fd) : status.Size;
        if (size < blockSize)
        {
            throw Failure($"has {size} bytes, less than one block of {blockSize}", isBlockDevice ? "check the device" : $"give it its size: truncate -s 10G {_path}");
        }

        if (size % blockSize != 0)
        {
            throw Failure(
                $"has {size} bytes, which is not a multiple of the block size {blockSize}: its last {size % blockSize} bytes could not be reached",
                $"lower blockSize, or grow it: truncate -s {(size / blockSize * blockSize) + blockSize} {_path}");
        }

        uint alignment = options.Direct ? FindDirectAlignment(fd, isBlockDevice) : 1;
        if (blockSize % alignment != 0)
        {
            throw Failure($"takes O_DIRECT requests in units of {alignment} bytes only", $"set \"blockSize\": {alignment}, or \"direct\": false");
        }

        ulong device = isBlockDevice ? status.RepresentedDevice : status.Device;
        bool canPunch = !options.ReadOnly && (isBlockDevice || CanPunchHoles(fd, size));
        return new BackingFileFacts
        {
            Path = _path,
            IsBlockDevice = isBlockDevice,
            Identity = (status.Device, status.Inode),
            IsInMemory = !isBlockDevice && IsTmpfs(status.Device),
            AlignmentBytes = alignment,
            PhysicalBlockSizeBytes = isBlockDevice ? BlockDevice.GetPhysicalBlockSize(fd) : Math.Clamp(status.BlockSize, 512, 4096),
            CanDiscard = isBlockDevice ? !options.ReadOnly && ReadQueueLimit(device, "discard_max_bytes") != 0 : canPunch,
            CanPunch = canPunch,
            RangeAlignmentBytes = isBlockDevice ? BlockDevice.GetLogicalBlockSize(fd) : 1,
            IsRotational = ReadQueueLimit(device, "rotational") == 1,
        };
    }

    /// <summary>The smallest read that O_DIRECT takes here. Larger units than 4096 bytes exist in no file system that has O_DIRECT.</summary>
    private uint FindDirectAlignment(int fd, bool isBlockDevice)
    {
        if (isBlockDevice)
        {
            return BlockDevice.GetLogicalBlockSize(fd);
        }

        using MemoryMapping probe = MemoryMapping.MapAnonymous(8192);
        foreach (uint alignment in (ReadOnlySpan<uint>)[512, 1024, 2048, 4096])
        {
            // SAFETY: offset plus length is at most 8192. The buffer is aligned to this unit and to no larger one, like a guest's may be.
            if (FileIo.TryRead(fd, probe.Address + (alignment % 4096), alignment, alignment % 4096) >= 0)
            {
                return alignment;
            }
        }

        throw Failure("cannot be read with O_DIRECT in units of up to 4096 bytes", "set \"direct\": false");
    }

    /// <summary>Beyond the end there is nothing to lose: a file system that can punch holes says yes and does nothing.</summary>
    private static bool CanPunchHoles(int fd, ulong size) =>
        FileIo.TryFallocate(fd, FallocateMode.PunchHole | FallocateMode.KeepSize, (size + 0xFFFFF) & ~0xFFFFFul, 4096) == 0;

    private static bool IsTmpfs(ulong device)
    {
        // mountinfo: id, parent, major:minor, root, mount point, options, optional fields, "-", type, source, options.
        var number = $" {device >> 32}:{device & uint.MaxValue} ";
        return System.IO.File.ReadLines("/proc/self/mountinfo").Any(
            line => line.Contains(number, StringComparison.Ordinal) && line.Contains(" - tmpfs ", StringComparison.Ordinal));
    }

    /// <summary>A number from the block layer's sysfs folder; a partition has its disk's. 0 where there is none.</summary>
    private static long ReadQueueLimit(ulong device, string name)
    {
        var folder = $"/sys/dev/block/{device >> 32}:{device & uint.MaxValue}";
        foreach (var path in new[] { $"{folder}/queue/{name}", $"{folder}/../queue/{name}" })
        {
            if (System.IO.File.Exists(path)
                && long.TryParse(System.IO.File.ReadAllText(path).Trim(), NumberStyles.Integer, CultureInfo.InvariantCulture, out var number))
            {
                return number;
            }
        }

        return 0;
    }

    private IOException Explain(LinuxException e) => e.Error switch
    {
        Errno.ENOENT => Failure("does not exist", $"create it (truncate -s 10G {_path}), or set \"create\": true and \"sizeMiB\"", e),
        Errno.ENOTDIR => Failure("does not exist: a part of the path is no directory", "correct the path", e),
        Errno.EACCES or Errno.EPERM => Failure(
            $"may not be {(options.ReadOnly ? "read" : "written")} by {Environment.UserName}",
            options.ReadOnly ? "give that user permission to read it" : "give that user permission to read and write it, or set \"readOnly\": true",
            e),
        Errno.EROFS => Failure("lies on a read-only file system", "set \"readOnly\": true, or remount it", e),
        Errno.EBUSY => Failure("is in use: mounted, or part of a volume, or opened by another program for itself", "release it (lsblk shows by what), or set \"readOnly\": true", e),
        Errno.EINVAL when options.Direct => Failure("lies on a file system without O_DIRECT", "set \"direct\": false", e),
        Errno.ENXIO or Errno.ENODEV => Failure("is a node without a device behind it", "check that the device is there (lsblk)", e),
        Errno.EMFILE => Failure("cannot be opened: this process has too many open files", "raise the limit (ulimit -n, LimitNOFILE=)", e),
        Errno.ENOSPC => Failure("cannot be created: the file system is full", "free some space", e),
        _ => Failure($"cannot be used ({e.Message})", "the kernel's log (dmesg) may say more", e),
    };

    private IOException Failure(string what, string remedy, Exception? inner = null) =>
        new($"bdev {bdevName}: {_path} {what}; {remedy}", inner);

    [LoggerMessage(EventId = 3202, Level = LogLevel.Information, Message = "bdev {Name}: created {Path}, {SizeMiB} MiB, sparse")]
    private static partial void LogFileCreated(ILogger logger, string name, string path, int sizeMiB);
}
