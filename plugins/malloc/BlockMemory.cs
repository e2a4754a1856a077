using System.Globalization;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.Plugins.Malloc;

/// <summary>The blocks: zeroed memory on huge pages, because a random access on small pages misses the TLB more often than it copies.</summary>
internal sealed unsafe partial class BlockMemory : IDisposable
{
    private const nuint HugePageBytes = 2 << 20;

    private readonly MemoryMapping _mapping;

    private BlockMemory(MemoryMapping mapping)
    {
        _mapping = mapping;
        Address = mapping.Address;
    }

    /// <summary>First byte. Valid until <see cref="Dispose"/>.</summary>
    public byte* Address { get; }

    /// <summary>
    /// Takes hugetlb pages, but at most half of the free ones, because guests and DMA need them too; else memory for transparent huge pages.
    /// </summary>
    /// <param name="context">Names the bdev and takes the log line.</param>
    /// <param name="sizeMiB">How much.</param>
    /// <exception cref="IOException">There is not so much memory.</exception>
    public static BlockMemory Allocate(BdevSourceContext context, int sizeMiB)
    {
        var length = (nuint)sizeMiB << 20;
        try
        {
            var mapping = length <= CountFreeHugePages() * HugePageBytes / 2 ? MemoryMapping.TryMapHugeTlb(length, HugePageBytes) : null;
            var kind = "hugetlb pages";
            if (mapping is null)
            {
                mapping = MemoryMapping.MapAnonymousAligned(length, HugePageBytes);
                kind = mapping.TryAdvise(MemoryAdvice.HugePage) ? "transparent huge pages" : "small pages: this kernel has no transparent huge pages";
            }

            // A core file is for the program's faults, not for the guests' data.
            _ = mapping.TryAdvise(MemoryAdvice.DontDump);
            LogAllocated(context.Logger, context.Name, sizeMiB, kind);
            return new BlockMemory(mapping);
        }
        catch (LinuxException e)
        {
            throw new IOException($"bdev {context.Name}: no memory for {sizeMiB} MiB: {e.Message}; lower sizeMiB, or give the service more memory", e);
        }
    }

    /// <summary>
    /// Zeroes a range and gives whole huge pages back to the system; they come back, zeroed, when they are written again. Smaller pieces
    /// are overwritten, as giving them back would split a huge page.
    /// </summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">How many bytes; the caller has checked the range.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void Zero(nuint offset, nuint length)
    {
        var end = offset + length;
        var firstPage = (offset + HugePageBytes - 1) & ~(HugePageBytes - 1);
        var endPage = end & ~(HugePageBytes - 1);
        if (firstPage >= endPage)
        {
            Clear(offset, end);
            return;
        }

        Clear(offset, firstPage);
        _mapping.Advise(firstPage, endPage - firstPage, MemoryAdvice.DontNeed);
        Clear(endPage, end);
    }

    /// <inheritdoc/>
    public void Dispose() => _mapping.Dispose();

    private static nuint CountFreeHugePages()
    {
        const string Folder = "/sys/kernel/mm/hugepages/hugepages-2048kB";
        return Read("free_hugepages") is var free && Read("resv_hugepages") is var reserved && free > reserved ? free - reserved : 0;

        static nuint Read(string name) =>
            File.Exists($"{Folder}/{name}") && nuint.TryParse(File.ReadAllText($"{Folder}/{name}"), CultureInfo.InvariantCulture, out var count) ? count : 0;
    }

    // SAFETY: start and end lie within the mapping, and are less than two huge pages apart.
    private void Clear(nuint start, nuint end) => new Span<byte>(Address + start, (int)(end - start)).Clear();

    [LoggerMessage(Level = LogLevel.Information, Message = "bdev {Name}: {SizeMiB} MiB on {Kind}")]
    private static partial void LogAllocated(ILogger logger, string name, int sizeMiB, string kind);
}
