using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.Plugins.VhostUserTransport;

/// <summary>Part of a file of a front-end, mapped. Disposing unmaps it and closes the file.</summary>
internal sealed class FileMapping : IDisposable
{
    private readonly MemoryMapping _mapping;
    private readonly GuardedRange _guard;

    private FileMapping(FileDescriptor file, MemoryMapping mapping, GuardedRange guard, nint address, bool isWritable, ulong pageSizeBytes, bool isHugeTlb)
    {
        File = file;
        _mapping = mapping;
        _guard = guard;
        Address = address;
        IsWritable = isWritable;
        PageSizeBytes = pageSizeBytes;
        IsHugeTlb = isHugeTlb;
    }

    /// <summary>The file.</summary>
    internal FileDescriptor File { get; }

    /// <summary>Address of the first byte that was asked for.</summary>
    internal nint Address { get; }

    /// <summary>Whether it may be written to.</summary>
    internal bool IsWritable { get; }

    /// <summary>Size of the pages.</summary>
    internal ulong PageSizeBytes { get; }

    /// <summary>Whether the pages are hugetlb pages.</summary>
    internal bool IsHugeTlb { get; }

    /// <summary>Whether a part of it went away after it was mapped.</summary>
    internal bool HasFailed => _guard.HasFailed;

    /// <summary>Maps part of a file.</summary>
    /// <param name="file">The file; owned from now on, also when this throws.</param>
    /// <param name="offsetBytes">Where the part begins.</param>
    /// <param name="lengthBytes">Its length; not 0, and the end does not exceed the greatest file.</param>
    /// <param name="purpose">Names it in messages.</param>
    /// <param name="faulted">Signalled when a part of it goes away, or null.</param>
    /// <exception cref="VhostUserException">It cannot be mapped; the message says why.</exception>
    internal static unsafe FileMapping Create(FileDescriptor file, ulong offsetBytes, ulong lengthBytes, string purpose, EventFd? faulted)
    {
        try
        {
            var status = FileStatus.Of(file.Raw);
            if (status.Kind != FileKind.Regular)
            {
                throw new VhostUserException($"{purpose} is not backed by a file (memfd, hugetlbfs, tmpfs)");
            }

            if (offsetBytes > status.Size || lengthBytes > status.Size - offsetBytes)
            {
                throw new VhostUserException(
                    $"{purpose} needs 0x{offsetBytes:x}+0x{lengthBytes:x} bytes of its file, which has 0x{status.Size:x}");
            }

            var hugePage = FileSystemType.GetHugePageSizeBytes(file.Raw);
            var page = hugePage != 0 ? hugePage : MemoryMapping.PageSize;

            // mmap takes whole pages only, and front-ends give offsets within huge ones.
            var start = offsetBytes & ~(page - 1);
            var head = offsetBytes - start;
            var length = (nuint)((head + lengthBytes + page - 1) & ~(page - 1));
            var mapping = Map(file, start, length, out var isWritable);
            _ = mapping.TryAdvise(MemoryAdvice.DontDump);

            // The file may shrink later, and accesses past its end raise SIGBUS.
            var guard = MemoryFaultGuard.Register((nint)mapping.Address, mapping.Length, (nuint)page, faulted);
            return new FileMapping(file, mapping, guard, (nint)(mapping.Address + head), isWritable, page, hugePage != 0);
        }
        catch (LinuxException exception)
        {
            file.Dispose();
            throw new VhostUserException($"{purpose} cannot be mapped: {exception.Message}", exception);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _guard.Dispose();
        _mapping.Dispose();
        File.Dispose();
    }

    private static MemoryMapping Map(FileDescriptor file, ulong offset, nuint length, out bool isWritable)
    {
        isWritable = true;
        try
        {
            return MemoryMapping.MapShared(file.Raw, offset, length);
        }
        catch (LinuxException exception) when (exception.Error is Errno.EACCES or Errno.EPERM)
        {
            // The front-end opened or sealed it for reading only; the device may read it, and a ring in it is refused.
            isWritable = false;
            return MemoryMapping.MapShared(file.Raw, offset, length, MemoryProtection.Read);
        }
    }
}
