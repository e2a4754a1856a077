using Vhost.Linux;

namespace Vhost.Plugins.File;

/// <summary>
/// The files that an io_uring knows by a number of its own: it takes no reference for each request then, which is some 5 % of a read that the page cache
/// answers. A channel's file has the channel's index as its number. A file without a number is used by its descriptor. Reactor thread only.
/// </summary>
/// <remarks>
/// The ring of a process that was killed lets go of its table some time after the process is gone, so what stands there is an open file of its own that only reads:
/// the lock, which the next process needs, is not held by it, and all that writes goes by the descriptor that holds the lock.
/// </remarks>
internal sealed class FileTable
{
    /// <summary>The number of a file that has none.</summary>
    public const int None = -1;

    private const int Size = 128;

    private readonly IoUring? _ring;

    /// <summary>Makes a table without files, if the kernel has such tables.</summary>
    /// <param name="ring">The ring, or null.</param>
    public FileTable(IoUring? ring)
    {
        Span<int> nothing = stackalloc int[Size];
        nothing.Fill(None);
        if (ring is not null && ring.TryRegisterFiles(nothing))
        {
            _ring = ring;
        }
    }

    /// <summary>Gives a file a number.</summary>
    /// <param name="index">The number that is wanted, free.</param>
    /// <param name="fileDescriptor">The file, or <see cref="None"/>.</param>
    /// <returns>The number, or <see cref="None"/>.</returns>
    public int Add(int index, int fileDescriptor) => _ring is not null && index < Size && fileDescriptor != None && _ring.TryUpdateFile(index, fileDescriptor) ? index : None;

    /// <summary>Takes the number back; no request uses it.</summary>
    /// <param name="index">The number, or <see cref="None"/>.</param>
    /// <exception cref="LinuxException">The kernel refuses, and would keep the file open.</exception>
    public void Remove(int index)
    {
        if (index != None && !_ring!.TryUpdateFile(index, None))
        {
            throw new LinuxException("io_uring_register(IORING_REGISTER_FILES_UPDATE)", Errno.EINVAL, $"file {index}");
        }
    }
}
