using System.Globalization;
using Vhost.Linux;

namespace Vhost.Pci.Dma;

/// <summary>
/// Huge pages in named files of a hugetlbfs, one directory a process. A process that is killed leaves its files, so that the kernel does not give
/// the pages away while a device may still write to them. Each device that may write has a marker file; the pages go when all of their
/// devices were reset: see <see cref="AbandonedPages"/>.
/// </summary>
internal sealed class HugePageFiles : IDisposable
{
    private readonly string _directory;
    private readonly FileDescriptor _lock;
    private int _nextFile;

    private HugePageFiles(string mount, nuint pageBytes)
    {
        PageBytes = pageBytes;
        Mount = mount;
        _directory = Path.Combine(mount, AbandonedPages.DirectoryPrefix + Environment.ProcessId.ToString(CultureInfo.InvariantCulture) + "-" + Guid.NewGuid().ToString("n"));
        Directory.CreateDirectory(_directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        _lock = FileIo.Open(_directory, OpenMode.ReadOnly | OpenMode.Directory);

        // The lock ends with the process, however it ends: a directory that can be locked has no owner any more.
        _ = FileLock.TryFlock(_lock.Raw, exclusive: true);
    }

    /// <summary>Where the hugetlbfs is mounted.</summary>
    public string Mount { get; }

    /// <summary>Size of a huge page in bytes.</summary>
    public nuint PageBytes { get; }

    /// <summary>Opens a directory in the hugetlbfs with the smallest pages.</summary>
    /// <exception cref="PciException">There is no hugetlbfs: says how to make one.</exception>
    public static HugePageFiles Open(PciPaths paths)
    {
        string? mount = FindMount(paths, out nuint pageBytes);
        if (mount is null)
        {
            throw new PciException("memory for devices without an IOMMU needs huge pages and a hugetlbfs: mount -t hugetlbfs none /dev/hugepages; sysctl -w vm.nr_hugepages=64");
        }

        try
        {
            return new HugePageFiles(mount, pageBytes);
        }
        catch (Exception e) when (e is LinuxException or UnauthorizedAccessException)
        {
            throw new PciException($"the hugetlbfs at {mount} cannot be used: {e.Message}", e);
        }
    }

    /// <summary>Notes that a device may write to the pages.</summary>
    public void Mark(PciAddress device) => File.Create(Path.Combine(_directory, AbandonedPages.MarkerPrefix + device)).Dispose();

    /// <summary>Notes that a device was stopped.</summary>
    public void Unmark(PciAddress device) => File.Delete(Path.Combine(_directory, AbandonedPages.MarkerPrefix + device));

    /// <summary>Maps whole huge pages. The release unmaps and removes the file.</summary>
    /// <exception cref="PciException">Too few huge pages are free.</exception>
    public (MemoryMapping Mapping, Action Release) Create(nuint pages)
    {
        string path = Path.Combine(_directory, "dma-" + (_nextFile++).ToString(CultureInfo.InvariantCulture));
        try
        {
            using FileDescriptor file = FileIo.Open(path, OpenMode.ReadWrite | OpenMode.Create | OpenMode.Exclusive);
            FileIo.SetLength(file.Raw, pages * PageBytes);
            MemoryMapping mapping = MemoryMapping.MapShared(file.Raw, 0, pages * PageBytes, populate: true);
            _ = mapping.TryAdvise(MemoryAdvice.DontFork);
            if (!mapping.TryAdvise(MemoryAdvice.PopulateWrite))
            {
                mapping.Dispose();
                throw new LinuxException("madvise(PopulateWrite)", Errno.ENOMEM, path);
            }

            return (mapping, () =>
            {
                mapping.Dispose();
                File.Delete(path);
            });
        }
        catch (LinuxException e)
        {
            File.Delete(path);
            (ulong total, ulong free) = SystemMemory.GetHugePages(PageBytes);
            throw new PciException($"{pages} huge pages of {PageBytes} bytes are needed, {free} of {total} are free: raise vm.nr_hugepages ({e.Message})", e);
        }
    }

    /// <summary>Removes the directory. Every device was stopped.</summary>
    public void Dispose()
    {
        if (!_lock.IsClosed)
        {
            Directory.Delete(_directory, recursive: true);
            _lock.Dispose();
        }
    }

    private static string? FindMount(PciPaths paths, out nuint pageBytes)
    {
        string? best = null;
        pageBytes = 0;
        string mounts = Path.Combine(paths.Proc, "mounts");
        foreach (string line in File.Exists(mounts) ? File.ReadLines(mounts) : [])
        {
            // Fields of fstab(5), with octal escapes in paths; a mount point with blanks is passed over.
            if (line.Split(' ') is [_, var point, "hugetlbfs", ..] && !point.Contains('\\', StringComparison.Ordinal) && Directory.Exists(point))
            {
                nuint size = FileStatus.Of(point).BlockSize;
                if (best is null || size < pageBytes)
                {
                    (best, pageBytes) = (point, size);
                }
            }
        }

        return best;
    }
}
