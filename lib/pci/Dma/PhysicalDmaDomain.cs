using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.Pci.Dma;

/// <summary>
/// Memory that devices reach by physical addresses, without an IOMMU: huge pages, because they do not move, and BARs of other devices. One for
/// the process. Nothing keeps a device from writing elsewhere; its driver is trusted.
/// </summary>
internal sealed unsafe class PhysicalDmaDomain(PciPaths paths, ILogger logger) : DmaDomain(logger)
{
    private readonly PageMap _pageMap = new();
    private readonly List<Pool> _pools = [];
    private readonly Lock _deviceLock = new();
    private readonly HashSet<PciAddress> _devices = [];
    private HugePageFiles? _files;

    public override bool IsPhysical => true;

    /// <summary>Held while a device is claimed, so that nobody of this process takes a reset of what was left behind for another process's use.</summary>
    public Lock ClaimLock { get; } = new();

    private HugePageFiles Files
    {
        get
        {
            lock (_pools)
            {
                return _files ??= HugePageFiles.Open(paths);
            }
        }
    }

    /// <summary>A device is driven by this process, and will be allowed DMA.</summary>
    public void AddDevice(PciAddress device)
    {
        lock (_deviceLock)
        {
            Files.Mark(device);
            _devices.Add(device);
        }
    }

    /// <summary>
    /// A device was reset and is about to be allowed DMA: of what dead processes left, nothing waits for it any more.
    /// Before the first allocation for it, which may need their pages.
    /// </summary>
    public void SweepAfterReset(PciAddress device)
    {
        lock (ClaimLock)
        {
            new AbandonedPages(paths, Logger).Sweep(Files.Mount, device);
        }
    }

    /// <summary>A device was reset, or was at least stopped from DMA. With the last one the pages that are not allocated are given back.</summary>
    public void RemoveDevice(PciAddress device)
    {
        lock (_deviceLock)
        {
            if (!_devices.Remove(device) || _files is null)
            {
                return;
            }

            _files.Unmark(device);
            if (_devices.Count > 0)
            {
                return;
            }

            // Before the next lock: an allocation takes them in this order.
            ulong allocated = Statistics.AllocatedBytes;
            lock (_pools)
            {
                foreach (Pool pool in _pools.Where(p => p.UsedBytes == 0).ToArray())
                {
                    pool.Release();
                    _pools.Remove(pool);
                }

                if (_pools.Count == 0 && allocated == 0)
                {
                    _files.Dispose();
                    _files = null;
                }
            }
        }
    }

    protected override DmaAttachment Attach(MemoryRegion region)
    {
        switch (region.Backing.Kind)
        {
            case MemoryBackingKind.DeviceBar or MemoryBackingKind.CopiedBar when region.Backing.PhysicalAddress != 0:
                return new DmaAttachment([new DmaRange((nuint)region.HostAddress, (nuint)region.LengthBytes, region.Backing.PhysicalAddress)], static () => { });
            case MemoryBackingKind.HugeTlb:
                return new DmaAttachment(Translate((nuint)region.HostAddress, (nuint)region.LengthBytes, (nuint)region.Backing.PageSizeBytes, region.IsWritable), static () => { });
            default:
                throw new PciException($"the device works with physical addresses, and memory of the kind {region.Backing.Kind} may move or has none; give the guest huge pages, or use an IOMMU");
        }
    }

    protected override DomainMemory AllocateCore(nuint lengthBytes, bool isContiguous)
    {
        nuint page = Files.PageBytes;
        if (lengthBytes <= page)
        {
            return FromPool(lengthBytes);
        }

        if (isContiguous)
        {
            throw new PciException($"{lengthBytes} consecutive bytes cannot be had: without an IOMMU one huge page of {page} bytes is the most");
        }

        (MemoryMapping mapping, Action release) = Files.Create((lengthBytes + page - 1) / page);
        try
        {
            nuint address = (nuint)mapping.Address;
            return new DomainMemory(this, address, lengthBytes, Translate(address, mapping.Length, page, isWritable: true), release);
        }
        catch
        {
            release();
            throw;
        }
    }

    private DomainMemory FromPool(nuint length)
    {
        lock (_pools)
        {
            foreach (Pool pool in _pools)
            {
                if (pool.TryTake(length, out nuint address))
                {
                    return Take(pool, address, length);
                }
            }

            (MemoryMapping mapping, Action release) = Files.Create(1);
            try
            {
                nuint start = (nuint)mapping.Address;
                var added = new Pool(start, mapping.Length, Translate(start, mapping.Length, mapping.Length, isWritable: true)[0].Iova, release);
                _pools.Add(added);
                return added.TryTake(length, out nuint address)
                    ? Take(added, address, length)
                    : throw new PciException($"{length} bytes do not fit into a huge page");
            }
            catch
            {
                if (!_pools.Any(p => p.Start == (nuint)mapping.Address))
                {
                    release();
                }

                throw;
            }
        }
    }

    private DomainMemory Take(Pool pool, nuint address, nuint length)
    {
        // Memory that was used before is zeroed, as new memory is.
        new Span<byte>((void*)address, checked((int)length)).Clear();
        return new DomainMemory(this, address, length, [new DmaRange(address, length, pool.Physical + (address - pool.Start))], () =>
        {
            lock (_pools)
            {
                pool.Give(address, length);
            }
        });
    }

    /// <summary>The physical address of each huge page of a range.</summary>
    private List<DmaRange> Translate(nuint address, nuint length, nuint page, bool isWritable)
    {
        // Pages that the guest has not touched yet are faulted in, as their frame is not known before.
        nuint first = address & ~(page - 1);
        nuint last = (address + length + page - 1) & ~(page - 1);
        if (!MemoryMapping.TryAdvise((nint)first, last - first, isWritable ? MemoryAdvice.PopulateWrite : MemoryAdvice.PopulateRead))
        {
            throw new PciException($"{length} bytes of huge pages cannot be faulted in; too few are free");
        }

        var ranges = new List<DmaRange>();
        for (nuint at = address; at < address + length;)
        {
            nuint count = Math.Min(address + length - at, page - (at & (page - 1)));
            if (!_pageMap.TryTranslate((void*)at, out ulong physical))
            {
                throw new PciException("the kernel hides physical addresses: run with CAP_SYS_ADMIN, or use an IOMMU");
            }

            ranges.Add(new DmaRange(at, count, physical));
            at += count;
        }

        return ranges;
    }

    /// <summary>One huge page, divided.</summary>
    private sealed class Pool(nuint start, nuint length, ulong physical, Action release)
    {
        private readonly IovaAllocator _free = new([(start, start + length - 1)]);

        public nuint Start => start;

        public ulong Physical => physical;

        public ulong UsedBytes { get; private set; }

        public Action Release => release;

        public bool TryTake(nuint bytes, out nuint address)
        {
            bool taken = _free.TryAllocate(bytes, MemoryMapping.PageSize, 0, out ulong found);
            address = (nuint)found;
            UsedBytes += taken ? bytes : 0;
            return taken;
        }

        public void Give(nuint address, nuint bytes)
        {
            _free.Free(address, bytes);
            UsedBytes -= bytes;
        }
    }
}
