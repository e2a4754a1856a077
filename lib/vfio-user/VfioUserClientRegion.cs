using Vhost.Linux;

namespace Vhost.VfioUser;

/// <summary>A region as the server described it, checked. Owns the descriptor to map it, and its mappings are the caller's.</summary>
public sealed class VfioUserClientRegion : IDisposable
{
    private readonly FileDescriptor? _file;
    private readonly ulong _mapOffset;

    internal VfioUserClientRegion(int index, ulong size, bool isReadable, bool isWritable, FileDescriptor? file, ulong mapOffset, VfioUserArea[] areas)
    {
        Index = index;
        Size = size;
        IsReadable = isReadable;
        IsWritable = isWritable;
        _file = file;
        _mapOffset = mapOffset;
        Areas = file is null ? [] : areas;
    }

    /// <summary>Index of the region.</summary>
    public int Index { get; }

    /// <summary>Length in bytes; 0 where the region does not exist.</summary>
    public ulong Size { get; }

    /// <summary>Whether reads are possible.</summary>
    public bool IsReadable { get; }

    /// <summary>Whether writes are possible.</summary>
    public bool IsWritable { get; }

    /// <summary>The parts that can be mapped, page aligned, inside the region, ascending, without overlap; empty where it is only trapped.</summary>
    public IReadOnlyList<VfioUserArea> Areas { get; }

    /// <summary>Maps a part of the region; null where the server's file does not hold it, or the kernel refuses.</summary>
    /// <param name="offset">First byte in the region, page aligned.</param>
    /// <param name="length">Length in bytes, page aligned.</param>
    public MemoryMapping? TryMap(ulong offset, ulong length)
    {
        if (_file is null || length == 0 || length > (ulong)nint.MaxValue
            || !Areas.Any(a => offset >= a.Offset && offset - a.Offset <= a.Size && length <= a.Size - (offset - a.Offset)))
        {
            return null;
        }

        // A server may place the region before the file's begin, so that only later parts exist: the sum wraps on purpose.
        ulong fileOffset = unchecked(_mapOffset + offset);
        try
        {
            FileStatus status = FileStatus.Of(_file.Raw);
            if (status.Kind == FileKind.Regular && (fileOffset > status.Size || length > status.Size - fileOffset))
            {
                return null;
            }

            MemoryProtection protection = (IsReadable ? MemoryProtection.Read : 0) | (IsWritable ? MemoryProtection.Write : 0);
            return MemoryMapping.MapShared(_file.Raw, fileOffset, (nuint)length, protection);
        }
        catch (LinuxException)
        {
            // What cannot be mapped is trapped: the caller sees null and uses messages.
            return null;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file?.Dispose();
}

/// <summary>An eventfd of the server that stands for writes to a part of a region.</summary>
/// <param name="Offset">First byte in the region.</param>
/// <param name="Size">Width of the write in bytes; 0 for any.</param>
/// <param name="DataMatch">The value that the write must have; null for any.</param>
/// <param name="Fd">The eventfd; the caller's.</param>
public sealed record VfioUserClientIoEventFd(ulong Offset, ulong Size, ulong? DataMatch, FileDescriptor Fd);

/// <summary>Memory that a device is to reach.</summary>
/// <param name="Iova">First device address.</param>
/// <param name="Size">Length in bytes.</param>
/// <param name="Fd">Descriptor number of the file behind it; -1 lets the device reach it by messages alone.</param>
/// <param name="FileOffset">Where it begins in the file.</param>
/// <param name="Address">Address in this process, which answers the device's messages; 0 refuses them.</param>
/// <param name="IsReadable">Whether the device may read.</param>
/// <param name="IsWritable">Whether the device may write.</param>
public readonly record struct VfioUserClientDma(
    ulong Iova, ulong Size, int Fd, ulong FileOffset, nint Address, bool IsReadable = true, bool IsWritable = true);
