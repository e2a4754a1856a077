using System.Globalization;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.Plugins.Malloc;

/// <summary>The blocks: zeroed memory on huge pages, because a random access on small pages misses the TLB more often than it copies.</summary>
internal sealed unsafe partial class BlockMemory : IDisposable
{
    private const nuint HugePageBytes = 2 << 20;

    // Addresses that are kept free behind the blocks, so that a bdev can grow in place while requests run. They cost no memory.
    private const nuint GrowthFactor = 8;
    private const nuint MinReservedBytes = 1 << 30;

    private readonly MemoryMapping _mapping;
    private readonly nuint _start;
    private readonly bool _canGrow;
    private nuint _length;

    private BlockMemory(MemoryMapping mapping, nuint start, nuint length, bool canGrow)
    {
        _mapping = mapping;
        _start = start;
        _length = length;
        _canGrow = canGrow;
        Address = mapping.Address + start;
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
            var canGrow = mapping is null;
            nuint start = 0;
            if (mapping is null)
            {
                mapping = MemoryMapping.Reserve(nuint.Max(length * GrowthFactor, MinReservedBytes) + HugePageBytes);
                start = (nuint)(-(nint)mapping.Address) & (HugePageBytes - 1);
                mapping.Protect(start, length, MemoryProtection.ReadWrite);
                kind = mapping.TryAdvise(MemoryAdvice.HugePage) ? "transparent huge pages" : "small pages: this kernel has no transparent huge pages";
            }

            // A core file is for the program's faults, not for the guests' data.
            _ = mapping.TryAdvise(MemoryAdvice.DontDump);
            LogAllocated(context.Logger, context.Name, sizeMiB, kind);
            return new BlockMemory(mapping, start, length, canGrow);
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
        _mapping.Advise(_start + firstPage, endPage - firstPage, MemoryAdvice.DontNeed);
        Clear(endPage, end);
    }

    /// <summary>Takes another length, in place. Requests may run meanwhile; those beyond a smaller length may still end there.</summary>
    /// <param name="name">Names the bdev in messages.</param>
    /// <param name="length">Bytes, a whole number of MiB.</param>
    /// <exception cref="IOException">It cannot grow so far, or there is not so much memory. Nothing was changed.</exception>
    public void Resize(string name, nuint length)
    {
        var before = _length;
        if (length == before)
        {
            return;
        }

        if (length > before)
        {
            var most = _canGrow ? _mapping.Length - HugePageBytes : before;
            if (length > most)
            {
                throw new IOException($"bdev {name}: it can grow to {most >> 20} MiB while it runs{(_canGrow ? "" : ", because it lies on hugetlb pages")}; delete it and create it anew for more");
            }

            try
            {
                _mapping.Protect(_start + before, length - before, MemoryProtection.ReadWrite);
                // It may have been there before, and have been cut off with what was in it.
                Zero(before, length - before);
            }
            catch (LinuxException e)
            {
                throw new IOException($"bdev {name}: no memory for {length >> 20} MiB: {e.Message}", e);
            }
        }
        else if (_canGrow)
        {
            try
            {
                Zero(length, before - length);
            }
            catch (LinuxException e)
            {
                throw new IOException($"bdev {name}: memory cannot be given back: {e.Message}", e);
            }
        }

        _length = length;
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

    [LoggerMessage(EventId = 3000, Level = LogLevel.Information, Message = "bdev {Name}: {SizeMiB} MiB on {Kind}")]
    private static partial void LogAllocated(ILogger logger, string name, int sizeMiB, string kind);
}
