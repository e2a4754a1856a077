using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.VfioUser;

namespace Vhost.Pci.Dma;

/// <summary>
/// Memory that a device in another process reaches: files are passed to it and mapped there; memory without a file it reaches by messages, which
/// is correct and slow.
/// </summary>
internal sealed unsafe class VfioUserDmaDomain(VfioUserClient client, ILogger logger) : DmaDomain(logger)
{
    private const ulong LargePage = 2 << 20;

    // 39 bits, as the smallest IOMMUs have: enough for 512 GiB, and a device that truncates addresses shows at once.
    private readonly IovaAllocator _iovas = new([(0, (1UL << 39) - 1)]);

    public override bool IsPhysical => false;

    protected override DmaAttachment Attach(MemoryRegion region)
    {
        (nuint address, nuint length) = WholePages(region, MemoryMapping.PageSize);
        ulong iova = Map(address, length, region.Backing.FileDescriptor, region.Backing.FileOffsetBytes + (address - (nuint)region.HostAddress), region.IsWritable);
        return new DmaAttachment([new DmaRange(address, length, iova)], () => Unmap(iova, length));
    }

    protected override DomainMemory AllocateCore(nuint lengthBytes, bool isContiguous)
    {
        using MemoryFile file = MemoryFile.Create("vhost-dma", lengthBytes);

        // The other process maps the file too: it must not be able to shrink it under us.
        file.AddSeals(FileSeals.Shrink | FileSeals.Grow | FileSeals.Seal);
        MemoryMapping mapping = MemoryMapping.MapShared(file.Raw, 0, lengthBytes);
        try
        {
            nuint address = (nuint)mapping.Address;
            ulong iova = Map(address, lengthBytes, file.Raw, 0, isWritable: true);
            return new DomainMemory(this, address, lengthBytes, [new DmaRange(address, lengthBytes, iova)], () =>
            {
                Unmap(iova, lengthBytes);
                mapping.Dispose();
            });
        }
        catch
        {
            mapping.Dispose();
            throw;
        }
    }

    private ulong Map(nuint address, nuint length, int fd, ulong fileOffset, bool isWritable)
    {
        ulong alignment = length >= LargePage ? LargePage : MemoryMapping.PageSize;
        ulong iova;
        lock (_iovas)
        {
            if (!_iovas.TryAllocate(length, alignment, address & (alignment - 1), out iova))
            {
                throw new PciException($"{client.Path}: no {length} consecutive device addresses are free");
            }
        }

        try
        {
            client.MapDma(new VfioUserClientDma(iova, length, fd, fd >= 0 ? fileOffset : 0, (nint)address, true, isWritable));
            return iova;
        }
        catch
        {
            lock (_iovas)
            {
                _iovas.Free(iova, length);
            }

            throw;
        }
    }

    private void Unmap(ulong iova, nuint length)
    {
        try
        {
            client.UnmapDma(iova, length);
        }
        catch (VfioUserException) when (client.DisconnectReason is not null)
        {
            // The device has gone, and what it mapped was a descriptor of its own.
        }
        catch (ObjectDisposedException)
        {
            // The device was closed before its memory.
        }

        lock (_iovas)
        {
            _iovas.Free(iova, length);
        }
    }
}
