using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.Pci.Devices;

namespace Vhost.Pci.Dma;

/// <summary>The memory that the devices of one vfio container reach through an IOMMU (type 1).</summary>
internal sealed unsafe class VfioDmaDomain : DmaDomain
{
    private const ulong LargePage = 2 << 20;

    private readonly FileDescriptor _container;
    private readonly IovaAllocator _iovas;
    private readonly Lock _mapLock = new();
    private readonly ulong _pageBytes;
    private bool _closed;

    public VfioDmaDomain(FileDescriptor container, ILogger logger)
        : base(logger)
    {
        _container = container;
        VfioIommuInfo info = GetInfo();
        _pageBytes = info.PageBytes;
        _iovas = new IovaAllocator(info.Ranges);
    }

    public override bool IsPhysical => false;

    /// <summary>A further group narrowed what can be translated.</summary>
    public void RefreshRanges()
    {
        lock (_mapLock)
        {
            foreach ((ulong first, ulong last) in GetInfo().Gaps())
            {
                _iovas.Exclude(first, last);
            }
        }
    }

    /// <summary>The last group has left; the kernel undoes all mappings.</summary>
    public void Close()
    {
        lock (_mapLock)
        {
            _closed = true;
            _container.Dispose();
        }
    }

    protected override DmaAttachment Attach(MemoryRegion region)
    {
        (nuint address, nuint length) = WholePages(region, _pageBytes);
        ulong iova = Map(address, length, region.IsWritable);
        return new DmaAttachment([new DmaRange(address, length, iova)], () => Unmap(iova, length));
    }

    protected override DomainMemory AllocateCore(nuint lengthBytes, bool isContiguous)
    {
        nuint length = (lengthBytes + (nuint)_pageBytes - 1) & ~((nuint)_pageBytes - 1);
        MemoryMapping mapping = MemoryMapping.MapAnonymousAligned(length, length >= LargePage ? (nuint)LargePage : (nuint)_pageBytes);
        try
        {
            // A child process must not share pages that a device writes to.
            _ = mapping.TryAdvise(MemoryAdvice.DontFork);
            _ = mapping.TryAdvise(MemoryAdvice.DontDump);
            if (length >= LargePage)
            {
                _ = mapping.TryAdvise(MemoryAdvice.HugePage);
            }

            nuint address = (nuint)mapping.Address;
            ulong iova = Map(address, length, isWritable: true);
            return new DomainMemory(this, address, length, [new DmaRange(address, length, iova)], () =>
            {
                Unmap(iova, length);
                mapping.Dispose();
            });
        }
        catch
        {
            mapping.Dispose();
            throw;
        }
    }

    private VfioIommuInfo GetInfo()
    {
        // SAFETY: the kernel writes at most the number of bytes that the first word states.
        byte* buffer = stackalloc byte[VfioIommuInfo.BufferBytes];
        new Span<byte>(buffer, VfioIommuInfo.BufferBytes).Clear();
        *(uint*)buffer = VfioIommuInfo.BufferBytes;
        _ = Ioctl.Call(_container.Raw, Vfio.IommuGetInfo, buffer, "VFIO_IOMMU_GET_INFO");
        return VfioIommuInfo.Parse(new ReadOnlySpan<byte>(buffer, VfioIommuInfo.BufferBytes));
    }

    private ulong Map(nuint address, nuint length, bool isWritable)
    {
        ulong alignment = Math.Max(length >= LargePage ? LargePage : 0, _pageBytes);
        lock (_mapLock)
        {
            ObjectDisposedException.ThrowIf(_closed, this);

            // The same remainder as the address's, so that the IOMMU can use large pages.
            if (!_iovas.TryAllocate(length, alignment, address & (alignment - 1), out ulong iova))
            {
                throw new PciException($"no {length} consecutive device addresses are free ({_iovas.FreeBytes} bytes are in all); the IOMMU has too few address bits for this much memory");
            }

            var map = new VfioDmaMap
            {
                ArgumentBytes = (uint)sizeof(VfioDmaMap),
                Flags = Vfio.DmaRead | (isWritable ? Vfio.DmaWrite : 0),
                Address = address,
                Iova = iova,
                Size = length,
            };
            int result = Ioctl.TryCall(_container.Raw, Vfio.IommuMapDma, &map);
            if (result >= 0)
            {
                return iova;
            }

            _iovas.Free(iova, length);
            string remedy = -result switch
            {
                Errno.ENOMEM => $"; the limit on locked memory is {ProcessLimits.GetLockedMemoryLimit()} bytes: raise it (LimitMEMLOCK=infinity, ulimit -l) or give CAP_IPC_LOCK",
                Errno.ENOSPC => "; the container's number of mappings is used up: raise the module parameter dma_entry_limit of vfio_iommu_type1",
                Errno.EFAULT => "; the memory cannot be pinned",
                _ => "",
            };
            throw new LinuxException("ioctl(VFIO_IOMMU_MAP_DMA)", -result, $"{length} bytes{remedy}");
        }
    }

    private void Unmap(ulong iova, nuint length)
    {
        lock (_mapLock)
        {
            if (_closed)
            {
                return;
            }

            var unmap = new VfioDmaUnmap { ArgumentBytes = (uint)sizeof(VfioDmaUnmap), Iova = iova, Size = length };
            _ = Ioctl.Call(_container.Raw, Vfio.IommuUnmapDma, &unmap, "VFIO_IOMMU_UNMAP_DMA");
            _iovas.Free(iova, length);
        }
    }
}
