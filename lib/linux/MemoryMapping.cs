using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>Page protection (sys/mman.h).</summary>
[Flags]
public enum MemoryProtection
{
    /// <summary>PROT_NONE.</summary>
    None = 0,

    /// <summary>PROT_READ.</summary>
    Read = 1,

    /// <summary>PROT_WRITE.</summary>
    Write = 2,

    /// <summary>PROT_EXEC.</summary>
    Execute = 4,

    /// <summary>PROT_READ | PROT_WRITE.</summary>
    ReadWrite = Read | Write,
}

/// <summary>Advice of madvise(2) (asm-generic/mman-common.h).</summary>
public enum MemoryAdvice
{
    /// <summary>MADV_WILLNEED.</summary>
    WillNeed = 3,

    /// <summary>MADV_DONTNEED: gives the pages back; anonymous memory reads as zero afterwards.</summary>
    DontNeed = 4,

    /// <summary>MADV_REMOVE: punches a hole in the shared memory file below.</summary>
    Remove = 9,

    /// <summary>MADV_DONTFORK.</summary>
    DontFork = 10,

    /// <summary>MADV_HUGEPAGE.</summary>
    HugePage = 14,

    /// <summary>MADV_NOHUGEPAGE.</summary>
    NoHugePage = 15,

    /// <summary>MADV_DONTDUMP: keeps guest memory out of core files.</summary>
    DontDump = 16,

    /// <summary>MADV_POPULATE_READ (Linux 5.14).</summary>
    PopulateRead = 22,

    /// <summary>MADV_POPULATE_WRITE (Linux 5.14): faults the pages in and reports failure as an error, not as SIGBUS.</summary>
    PopulateWrite = 23,
}

/// <summary>
/// A range of mapped memory, unmapped once when disposed. Nobody may touch <see cref="Address"/> afterwards: whoever hands the
/// address on keeps this object alive and counts its users.
/// </summary>
public sealed unsafe class MemoryMapping : SafeHandle
{
    private const int MAP_SHARED = 0x1; // linux/mman.h
    private const int MAP_PRIVATE = 0x2; // linux/mman.h
    private const int MAP_FIXED = 0x10; // asm-generic/mman-common.h
    private const int MAP_ANONYMOUS = 0x20; // asm-generic/mman-common.h
    private const int MAP_NORESERVE = 0x4000; // asm-generic/mman.h
    private const int MAP_POPULATE = 0x8000; // asm-generic/mman-common.h
    private const int MAP_HUGETLB = 0x40000; // asm-generic/mman-common.h
    private const int MAP_HUGE_SHIFT = 26; // asm-generic/hugetlb_encode.h
    private const int MREMAP_MAYMOVE = 1; // linux/mman.h

    private MemoryMapping(nint address, nuint length)
        : base(invalidHandleValue: -1, ownsHandle: true)
    {
        SetHandle(address);
        Length = length;
    }

    /// <summary>Size of a base page in bytes.</summary>
    public static nuint PageSize { get; } = (nuint)Environment.SystemPageSize;

    /// <summary>First byte.</summary>
    /// <exception cref="ObjectDisposedException">The memory is unmapped.</exception>
    public byte* Address
    {
        get
        {
            ObjectDisposedException.ThrowIf(IsClosed, this);
            return (byte*)handle;
        }
    }

    /// <summary>Length in bytes, a multiple of the page size for anonymous memory.</summary>
    public nuint Length { get; private set; }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == -1;

    /// <summary>Maps part of a file, a memfd or a device, shared with everybody else who maps it.</summary>
    /// <param name="fd">The descriptor; it may be closed afterwards.</param>
    /// <param name="offset">First byte, a multiple of the page size (of the huge page size on hugetlbfs).</param>
    /// <param name="length">Length in bytes, above zero.</param>
    /// <param name="protection">Page protection.</param>
    /// <param name="populate">Whether to fault the pages in now.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static MemoryMapping MapShared(
        int fd, ulong offset, nuint length, MemoryProtection protection = MemoryProtection.ReadWrite, bool populate = false)
    {
        nint address = Libc.mmap(0, length, (int)protection, MAP_SHARED | (populate ? MAP_POPULATE : 0), fd, (long)offset);
        return address != -1
            ? new MemoryMapping(address, length)
            : throw LinuxException.Last("mmap", $"fd {fd}, offset 0x{offset:x}, {length} bytes");
    }

    /// <summary>Maps zeroed private memory.</summary>
    /// <param name="length">Length in bytes, rounded up to whole pages.</param>
    /// <param name="populate">Whether to fault the pages in now.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static MemoryMapping MapAnonymous(nuint length, bool populate = false)
    {
        nuint rounded = RoundUp(length, PageSize);
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | (populate ? MAP_POPULATE : 0);
        nint address = Libc.mmap(0, rounded, (int)MemoryProtection.ReadWrite, flags, -1, 0);
        return address != -1 ? new MemoryMapping(address, rounded) : throw LinuxException.Last("mmap", $"{rounded} bytes anonymous");
    }

    /// <summary>
    /// Maps zeroed private memory at an address that is a multiple of <paramref name="alignment"/>, so that transparent huge pages
    /// or device rules can use all of it.
    /// </summary>
    /// <param name="length">Length in bytes, rounded up to whole pages.</param>
    /// <param name="alignment">A power of two, at least the page size.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static MemoryMapping MapAnonymousAligned(nuint length, nuint alignment)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(alignment, PageSize);
        if (!System.Numerics.BitOperations.IsPow2(alignment))
        {
            throw new ArgumentOutOfRangeException(nameof(alignment), alignment, "the alignment is no power of two");
        }

        nuint rounded = RoundUp(length, PageSize);
        nuint whole = checked(rounded + alignment);
        nint address = Libc.mmap(0, whole, (int)MemoryProtection.ReadWrite, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (address == -1)
        {
            throw LinuxException.Last("mmap", $"{whole} bytes anonymous");
        }

        nuint start = RoundUp((nuint)address, alignment);
        nuint head = start - (nuint)address;
        nuint tail = whole - head - rounded;
        if (head != 0)
        {
            _ = Libc.munmap(address, head);
        }

        if (tail != 0)
        {
            _ = Libc.munmap((nint)(start + rounded), tail);
        }

        return new MemoryMapping((nint)start, rounded);
    }

    /// <summary>Maps private huge pages, or returns null where the system has none free.</summary>
    /// <param name="length">Length in bytes, rounded up to whole huge pages.</param>
    /// <param name="hugePageSize">Size of a huge page, for example 2 MiB.</param>
    public static MemoryMapping? TryMapHugeTlb(nuint length, nuint hugePageSize)
    {
        nuint rounded = RoundUp(length, hugePageSize);
        int shift = System.Numerics.BitOperations.Log2(hugePageSize);
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE | (shift << MAP_HUGE_SHIFT);
        nint address = Libc.mmap(0, rounded, (int)MemoryProtection.ReadWrite, flags, -1, 0);
        return address != -1 ? new MemoryMapping(address, rounded) : null;
    }

    /// <summary>Reserves addresses without memory behind them; <see cref="MapSharedInto"/> fills parts.</summary>
    /// <param name="length">Length in bytes, rounded up to whole pages.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static MemoryMapping Reserve(nuint length)
    {
        nuint rounded = RoundUp(length, PageSize);
        nint address = Libc.mmap(0, rounded, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        return address != -1 ? new MemoryMapping(address, rounded) : throw LinuxException.Last("mmap", $"{rounded} bytes reserved");
    }

    /// <summary>Replaces part of this mapping by a shared mapping of a file.</summary>
    /// <param name="at">First byte inside this mapping, page aligned.</param>
    /// <param name="fd">The descriptor; it may be closed afterwards.</param>
    /// <param name="offset">First byte in the file.</param>
    /// <param name="length">Length in bytes.</param>
    /// <param name="protection">Page protection.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void MapSharedInto(nuint at, int fd, ulong offset, nuint length, MemoryProtection protection = MemoryProtection.ReadWrite)
    {
        CheckRange(at, length);
        if (Libc.mmap((nint)(Address + at), length, (int)protection, MAP_SHARED | MAP_FIXED, fd, (long)offset) == -1)
        {
            throw LinuxException.Last("mmap", $"fd {fd}, offset 0x{offset:x}, {length} bytes, fixed");
        }
    }

    /// <summary>Changes the protection of part of the mapping.</summary>
    /// <param name="at">First byte, page aligned.</param>
    /// <param name="length">Length in bytes.</param>
    /// <param name="protection">Page protection.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void Protect(nuint at, nuint length, MemoryProtection protection)
    {
        CheckRange(at, length);
        if (Libc.mprotect((nint)(Address + at), length, (int)protection) != 0)
        {
            throw LinuxException.Last("mprotect", $"{length} bytes");
        }
    }

    /// <summary>Gives advice on the whole mapping; false where the kernel does not take it.</summary>
    /// <param name="advice">The advice.</param>
    public bool TryAdvise(MemoryAdvice advice) => Libc.madvise((nint)Address, Length, (int)advice) == 0;

    /// <summary>Gives advice on a range that somebody else mapped; false where the kernel does not take it.</summary>
    /// <param name="address">First byte, page aligned.</param>
    /// <param name="length">Length in bytes.</param>
    /// <param name="advice">The advice.</param>
    public static bool TryAdvise(nint address, nuint length, MemoryAdvice advice) => Libc.madvise(address, length, (int)advice) == 0;

    /// <summary>Gives advice on part of the mapping.</summary>
    /// <param name="at">First byte, page aligned.</param>
    /// <param name="length">Length in bytes.</param>
    /// <param name="advice">The advice.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void Advise(nuint at, nuint length, MemoryAdvice advice)
    {
        CheckRange(at, length);
        if (Libc.madvise((nint)(Address + at), length, (int)advice) != 0)
        {
            throw LinuxException.Last($"madvise({advice})", $"{length} bytes");
        }
    }

    /// <summary>Locks the whole mapping into RAM.</summary>
    /// <exception cref="LinuxException">The kernel refuses, mostly for RLIMIT_MEMLOCK.</exception>
    public void Lock()
    {
        if (Libc.mlock((nint)Address, Length) != 0)
        {
            throw LinuxException.Last("mlock", $"{Length} bytes");
        }
    }

    /// <summary>Changes the length; the address may change, so nobody else may use the mapping meanwhile.</summary>
    /// <param name="length">New length in bytes, rounded up to whole pages.</param>
    /// <exception cref="LinuxException">The kernel refuses; the mapping is as before.</exception>
    public void Resize(nuint length)
    {
        nuint rounded = RoundUp(length, PageSize);
        nint address = Libc.mremap((nint)Address, Length, rounded, MREMAP_MAYMOVE);
        if (address == -1)
        {
            throw LinuxException.Last("mremap", $"{Length} to {rounded} bytes");
        }

        SetHandle(address);
        Length = rounded;
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => Libc.munmap(handle, Length) == 0;

    private static nuint RoundUp(nuint value, nuint unit)
    {
        ArgumentOutOfRangeException.ThrowIfZero(value);
        return checked(value + unit - 1) & ~(unit - 1);
    }

    private void CheckRange(nuint at, nuint length)
    {
        if (at > Length || length > Length - at)
        {
            throw new ArgumentOutOfRangeException(nameof(at), $"{at}+{length} leaves the mapping of {Length} bytes");
        }
    }
}

internal static partial class Libc
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint mmap(nint address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int munmap(nint address, nuint length);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int mprotect(nint address, nuint length, int protection);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int madvise(nint address, nuint length, int advice);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int mlock(nint address, nuint length);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint mremap(nint address, nuint oldLength, nuint newLength, int flags);
}
