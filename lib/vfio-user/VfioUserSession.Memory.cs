using Vhost.Linux;

namespace Vhost.VfioUser;

/// <content>The client's memory: DMA_MAP and DMA_UNMAP.</content>
public sealed partial class VfioUserSession
{
    private void MapDma(VfioUserMessage message)
    {
        ReadOnlySpan<byte> p = Payload(message, DmaMapBytes, checkArgumentSize: true);
        uint flags = U32(p, 4);
        ulong offset = U64(p, 8);
        ulong iova = U64(p, 16);
        ulong size = U64(p, 24);
        const uint Read = 1;
        const uint Write = 2;
        const uint Mmap = 4;
        if ((flags & ~(Read | Write | Mmap)) != 0)
        {
            throw new VfioUserException(Errno.EINVAL, $"DMA_MAP has the unknown flags 0x{flags:x}");
        }

        if (message.FdCount > 1 || (message.FdCount == 0 && (flags & Mmap) != 0))
        {
            throw new VfioUserException(Errno.EINVAL, $"DMA_MAP came with {message.FdCount} descriptors");
        }

        VfioUserDma.Check(iova, size);
        bool isReadable = (flags & Read) != 0;
        bool isWritable = (flags & Write) != 0;
        VfioUserDmaRegion region;
        if (message.FdCount == 0)
        {
            region = new VfioUserDmaRegion(iova, size, isReadable, isWritable, null, 0, null, 0);
        }
        else
        {
            using FileDescriptor file = message.TakeFd(0);
            region = MapFile(file, offset, iova, size, isReadable, isWritable);
        }

        try
        {
            Dma.Add(region);
        }
        catch
        {
            region.Mapping?.Dispose();
            throw;
        }

        try
        {
            _device.OnDmaMapped(region);
        }
        catch
        {
            Unmap(region);
            throw;
        }
    }

    private static unsafe VfioUserDmaRegion MapFile(FileDescriptor file, ulong offset, ulong iova, ulong size, bool isReadable, bool isWritable)
    {
        try
        {
            FileStatus status = FileStatus.Of(file.Raw);
            if (status.Kind == FileKind.Regular && (offset > status.Size || size > status.Size - offset))
            {
                throw new VfioUserException(Errno.EINVAL, $"the file of the DMA region 0x{iova:x} has {status.Size} bytes, the region ends at {offset} + {size}");
            }

            // Pages are mapped whole; the delta is what precedes the region in its first page. On hugetlbfs the page is the file's.
            ulong page = MemoryMapping.PageSize;
            if (status.Kind == FileKind.Regular && status.BlockSize > page && status.BlockSize % page == 0)
            {
                page = status.BlockSize;
            }

            ulong delta = offset % page;
            MemoryProtection protection = (isReadable ? MemoryProtection.Read : 0) | (isWritable ? MemoryProtection.ReadWrite : 0);
            if (size > (ulong)nint.MaxValue - page)
            {
                throw new VfioUserException(Errno.ENOMEM, $"the DMA region 0x{iova:x} has the impossible size 0x{size:x}");
            }

            MemoryMapping mapping = MemoryMapping.MapShared(file.Raw, offset - delta, (nuint)(size + delta), protection);
            _ = mapping.TryAdvise(MemoryAdvice.DontDump);
            return new VfioUserDmaRegion(iova, size, isReadable, isWritable, mapping, (nint)mapping.Address + (nint)delta, status, offset);
        }
        catch (LinuxException e)
        {
            throw new VfioUserException(e.Error, $"the DMA region 0x{iova:x} cannot be mapped: {e.Message}", e);
        }
    }

    private void UnmapDma(VfioUserMessage message)
    {
        ReadOnlySpan<byte> p = Payload(message, DmaUnmapBytes, checkArgumentSize: true);
        ExpectNoFds(message);
        uint flags = U32(p, 4);
        ulong iova = U64(p, 8);
        ulong size = U64(p, 16);
        const uint All = 2; // VFIO_DMA_UNMAP_FLAG_ALL
        if (flags == All && iova == 0 && size == 0)
        {
            foreach (VfioUserDmaRegion region in Dma.Regions)
            {
                Unmap(region);
            }
        }
        else if (flags == 0 && Dma.Exact(iova, size) is { } region)
        {
            Unmap(region);
        }
        else
        {
            throw new VfioUserException(flags == 0 ? Errno.ENOENT : Errno.EOPNOTSUPP, $"DMA_UNMAP of 0x{iova:x} + 0x{size:x} with flags 0x{flags:x} matches no region");
        }

        Reply(message.Header, p[..DmaUnmapBytes]);
    }

    private void Unmap(VfioUserDmaRegion region)
    {
        Dma.Remove(region);
        if (Guard(() => _device.OnDmaUnmapped(region), "OnDmaUnmapped"))
        {
            region.Mapping?.Dispose();
        }
        else
        {
            // The device may still use the memory: it stays mapped rather than vanish under it.
            Kept.Add(region);
            _report($"the memory at 0x{region.Iova:x} stays mapped, because the device did not let go of it");
        }
    }
}
