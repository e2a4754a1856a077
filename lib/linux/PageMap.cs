using System.Runtime.InteropServices;

namespace Vhost.Linux;

/// <summary>Physical addresses of this process's pages, from /proc/self/pagemap (needs CAP_SYS_ADMIN). Thread-safe.</summary>
public sealed unsafe class PageMap : IDisposable
{
    private const ulong PresentBit = 1UL << 63; // Documentation/admin-guide/mm/pagemap.rst
    private const ulong FrameMask = (1UL << 55) - 1;

    private readonly FileDescriptor _file = FileIo.Open("/proc/self/pagemap", OpenMode.ReadOnly);

    /// <summary>
    /// The physical address behind an address; false where the page is not present or the kernel hides frame numbers. It stays right only
    /// while the page cannot move: hugetlb pages, locked device memory.
    /// </summary>
    /// <param name="address">An address of this process.</param>
    /// <param name="physical">The physical address.</param>
    /// <exception cref="LinuxException">The file cannot be read.</exception>
    public bool TryTranslate(void* address, out ulong physical)
    {
        ulong pageSize = MemoryMapping.PageSize;
        ulong entry = 0;
        FileIo.ReadExactly(_file.Raw, new Span<byte>(&entry, sizeof(ulong)), (ulong)address / pageSize * sizeof(ulong));
        ulong frame = entry & FrameMask;
        physical = (frame * pageSize) + ((ulong)address % pageSize);
        return (entry & PresentBit) != 0 && frame != 0;
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();
}

/// <summary>Memory of the system (sysinfo(2), /sys/kernel/mm/hugepages).</summary>
public static unsafe class SystemMemory
{
    /// <summary>RAM in bytes, and free RAM in bytes.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static (ulong Total, ulong Free) GetRam()
    {
        SystemInformation info = default;
        return Libc.sysinfo(&info) == 0 ? (info.TotalRam * info.Unit, info.FreeRam * info.Unit) : throw LinuxException.Last("sysinfo");
    }

    /// <summary>Configured and free huge pages of a size; zeroes where the kernel has no such size.</summary>
    /// <param name="pageSize">Size of a huge page in bytes.</param>
    public static (ulong Total, ulong Free) GetHugePages(nuint pageSize)
    {
        string directory = $"/sys/kernel/mm/hugepages/hugepages-{pageSize / 1024}kB";
        return (ReadNumber(directory + "/nr_hugepages"), ReadNumber(directory + "/free_hugepages"));
    }

    private static ulong ReadNumber(string path) =>
        File.Exists(path) && ulong.TryParse(File.ReadAllText(path).AsSpan().Trim(), out ulong number) ? number : 0;
}

/// <summary>struct sysinfo (linux/sysinfo.h), 64-bit.</summary>
[StructLayout(LayoutKind.Explicit, Size = 112)]
internal struct SystemInformation
{
    [FieldOffset(32)] public ulong TotalRam;
    [FieldOffset(40)] public ulong FreeRam;
    [FieldOffset(104)] public uint Unit;
}

internal static unsafe partial class Libc
{
    [LibraryImport(Library, SetLastError = true)]
    internal static partial int sysinfo(SystemInformation* info);
}
