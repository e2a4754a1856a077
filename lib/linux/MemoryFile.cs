using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>Seals of a memfd (linux/fcntl.h).</summary>
[Flags]
public enum FileSeals
{
    /// <summary>No seal.</summary>
    None = 0,

    /// <summary>F_SEAL_SEAL: no further seals.</summary>
    Seal = 1,

    /// <summary>F_SEAL_SHRINK: the file cannot shrink, so that its mappings cannot raise SIGBUS.</summary>
    Shrink = 2,

    /// <summary>F_SEAL_GROW: the file cannot grow.</summary>
    Grow = 4,

    /// <summary>F_SEAL_WRITE: the contents cannot change.</summary>
    Write = 8,
}

/// <summary>A file of memory without a name (memfd_create(2)), to be shared by passing its descriptor.</summary>
public sealed class MemoryFile : FileDescriptor
{
    private const uint MFD_CLOEXEC = 1; // linux/memfd.h
    private const uint MFD_ALLOW_SEALING = 2; // linux/memfd.h
    private const uint MFD_HUGETLB = 4; // linux/memfd.h
    private const int MFD_HUGE_SHIFT = 26; // linux/memfd.h
    private const int F_ADD_SEALS = 1033; // linux/fcntl.h
    private const int F_GET_SEALS = 1034; // linux/fcntl.h

    private MemoryFile(int fd)
        : base(fd)
    {
    }

    /// <summary>Creates a memory file that can be sealed.</summary>
    /// <param name="name">Shown in /proc; need not be unique.</param>
    /// <param name="length">Length in bytes; the contents read as zero.</param>
    /// <param name="hugePageSize">Zero for base pages, else the size of the huge pages that hold the file.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static MemoryFile Create(string name, ulong length, nuint hugePageSize = 0)
    {
        uint flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
        if (hugePageSize != 0)
        {
            flags |= MFD_HUGETLB | ((uint)System.Numerics.BitOperations.Log2(hugePageSize) << MFD_HUGE_SHIFT);
        }

        int fd = Libc.memfd_create(name, flags);
        if (fd < 0)
        {
            throw LinuxException.Last("memfd_create", name);
        }

        var file = new MemoryFile(fd);
        try
        {
            FileIo.SetLength(fd, length);
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Adds seals.</summary>
    /// <param name="seals">The seals to add.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void AddSeals(FileSeals seals)
    {
        if (Libc.fcntl(Raw, F_ADD_SEALS, (int)seals) < 0)
        {
            throw LinuxException.Last("fcntl(F_ADD_SEALS)", seals.ToString());
        }
    }

    /// <summary>The seals of any descriptor; null where it is no file that can be sealed.</summary>
    /// <param name="fd">The descriptor number.</param>
    public static FileSeals? GetSeals(int fd)
    {
        int seals = Libc.fcntl(fd, F_GET_SEALS, 0);
        return seals >= 0 ? (FileSeals)seals : null;
    }
}

internal static partial class Libc
{
    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int memfd_create(string name, uint flags);
}
