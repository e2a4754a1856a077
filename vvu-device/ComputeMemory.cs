using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.VvuDevice;

/// <summary>
/// The other VM's memory in BAR 2. What lies in the file given at the start is mapped by the client without any copy, since the whole file has its place in the
/// BAR; other memory gets a place behind it and is reached by messages. The owner's lock guards it.
/// </summary>
/// <remarks>
/// A peer can truncate a file that it passed; the trapped access that then follows ends this process (SIGBUS), which serves nobody but these two VMs.
/// </remarks>
internal sealed class ComputeMemory : IDisposable
{
    /// <summary>Regions, at most.</summary>
    public const int MaxRegions = 512;

    // Aligned to the largest pages, so that the client's hypervisor can use them.
    private const ulong PlaceAlignment = 1UL << 30;
    private readonly ulong _memoryOffset;
    private readonly FileDescriptor? _file;
    private readonly FileStatus _identity;
    private readonly ulong _foreignStart;
    private readonly Action<string> _report;
    private List<Placed> _regions = [];
    private MemoryMapping? _trappedFile;
    private bool _isWarned;

    public ComputeMemory(DeviceLayout layout, string? path, ulong lengthBytes, Action<string> report)
    {
        _memoryOffset = layout.MemoryOffset;
        _report = report;
        FileBytes = path is null ? 0 : lengthBytes;
        if (FileBytes > DeviceLayout.MemoryBarBytes - FileOffset)
        {
            throw new ArgumentException($"--memory-size is {FileBytes >> 20} MiB, but the BAR has room for {(DeviceLayout.MemoryBarBytes - FileOffset) >> 20}");
        }

        _foreignStart = (FileOffset + FileBytes + PlaceAlignment - 1) & ~(PlaceAlignment - 1);
        if (path is not null)
        {
            _file = Open(path, lengthBytes);
            _identity = FileStatus.Of(_file.Raw);
        }
    }

    /// <summary>Where the file begins in the BAR.</summary>
    public static ulong FileOffset => PlaceAlignment;

    /// <summary>Length of the file; 0 without one.</summary>
    public ulong FileBytes { get; }

    /// <summary>Descriptor number of the file, or -1.</summary>
    public int FileDescriptorNumber => _file?.Raw ?? -1;

    /// <summary>Takes a whole memory table, and drops what was there.</summary>
    /// <param name="regions">As the other VM describes them; their offsets are replaced by what the driver is to be told.</param>
    /// <param name="message">The message that carries a descriptor for each.</param>
    /// <exception cref="MasterFault">It makes no sense, or does not fit.</exception>
    public void SetTable(Span<RegionDescription> regions, VhostUserMessage message)
    {
        var next = new List<Placed>();
        try
        {
            ulong position = _memoryOffset;
            for (int i = 0; i < regions.Length; i++)
            {
                Placed placed = Place(regions[i], message.TakeDescriptor(i), next);
                next.Add(placed);

                // The driver adds up: a region begins behind all former ones, each as long as its offset and length together, all modulo 2^64.
                regions[i] = regions[i] with { OffsetBytes = unchecked(placed.BarOffset - position) };
                position = unchecked(placed.BarOffset + regions[i].LengthBytes);
            }
        }
        catch
        {
            next.ForEach(region => region.Mapping?.Dispose());
            throw;
        }

        _regions.ForEach(region => region.Mapping?.Dispose());
        _regions = next;
    }

    /// <summary>Adds a region.</summary>
    /// <returns>The description with the offset from where memory begins in the BAR.</returns>
    public RegionDescription Add(RegionDescription region, FileDescriptor descriptor)
    {
        if (_regions.Count >= MaxRegions)
        {
            descriptor.Dispose();
            throw new MasterFault($"there are {MaxRegions} memory regions already");
        }

        Placed placed = Place(region, descriptor, _regions);
        _regions.Add(placed);
        return region with { OffsetBytes = unchecked(placed.BarOffset - _memoryOffset) };
    }

    /// <summary>Removes a region.</summary>
    /// <returns>The description with the offset from where memory begins in the BAR.</returns>
    public RegionDescription Remove(RegionDescription region)
    {
        int at = _regions.FindIndex(placed => placed.Description.GuestAddress == region.GuestAddress
            && placed.Description.UserAddress == region.UserAddress && placed.Description.LengthBytes == region.LengthBytes);
        if (at < 0)
        {
            throw new MasterFault($"there is no memory region at guest address 0x{region.GuestAddress:x} to remove");
        }

        Placed found = _regions[at];
        _regions.RemoveAt(at);
        found.Mapping?.Dispose();
        return region with { OffsetBytes = unchecked(found.BarOffset - _memoryOffset) };
    }

    /// <summary>Drops everything.</summary>
    public void Clear()
    {
        _regions.ForEach(region => region.Mapping?.Dispose());
        _regions.Clear();
    }

    /// <summary>A trapped read; what is no memory reads as ones.</summary>
    public unsafe void Read(ulong offset, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            int part = Find(offset, destination.Length, out byte* address);
            Span<byte> target = destination[..part];
            if (address == null)
            {
                target.Fill(0xff);
            }
            else
            {
                MemoryAccess.Read(address, target);
            }

            destination = destination[part..];
            offset += (ulong)part;
        }
    }

    /// <summary>A trapped write; what is no memory takes none.</summary>
    public unsafe void Write(ulong offset, ReadOnlySpan<byte> source)
    {
        while (!source.IsEmpty)
        {
            int part = Find(offset, source.Length, out byte* address);
            ReadOnlySpan<byte> data = source[..part];
            if (address != null)
            {
                MemoryAccess.Write(address, data);
            }

            source = source[part..];
            offset += (ulong)part;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Clear();
        _trappedFile?.Dispose();
        _file?.Dispose();
    }

    private static FileDescriptor Open(string path, ulong lengthBytes)
    {
        if (lengthBytes == 0 || lengthBytes % MemoryMapping.PageSize != 0)
        {
            throw new ArgumentException($"--memory-size must be a multiple of {MemoryMapping.PageSize} bytes and greater than 0");
        }

        // A VM's memory is nobody else's to read.
        using var stream = new FileStream(path, new FileStreamOptions
        {
            Mode = FileMode.OpenOrCreate, Access = FileAccess.ReadWrite, Share = FileShare.ReadWrite | FileShare.Delete, BufferSize = 0,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite,
        });
        if ((ulong)stream.Length > lengthBytes)
        {
            throw new ArgumentException($"{path} has {stream.Length} bytes, more than --memory-size says: it is the memory of another VM, or the size is wrong");
        }

        if ((ulong)stream.Length < lengthBytes)
        {
            stream.SetLength((long)lengthBytes);
        }

        return FileDescriptor.DuplicateRaw((int)stream.SafeFileHandle.DangerousGetHandle());
    }

    private Placed Place(RegionDescription region, FileDescriptor descriptor, List<Placed> others)
    {
        using (descriptor)
        {
            try
            {
                region.Check();
            }
            catch (VhostUserException exception)
            {
                throw new MasterFault(exception.Message);
            }

            if (others.Find(other => other.Description.Overlaps(region)) is { } hit)
            {
                throw new MasterFault($"the memory regions at guest addresses 0x{hit.Description.GuestAddress:x} and 0x{region.GuestAddress:x} overlap");
            }

            FileStatus status = FileStatus.Of(descriptor.Raw);
            if (status.Kind != FileKind.Regular || region.OffsetBytes > status.Size || region.LengthBytes > status.Size - region.OffsetBytes)
            {
                throw new MasterFault(
                    $"the memory region at guest address 0x{region.GuestAddress:x} ends at 0x{region.OffsetBytes:x} + 0x{region.LengthBytes:x}, but its descriptor is {(status.Kind == FileKind.Regular ? $"a file of 0x{status.Size:x} bytes" : "no memory file")}");
            }

            if (_file is not null && IsSame(status, _identity) && region.OffsetBytes <= FileBytes && region.LengthBytes <= FileBytes - region.OffsetBytes)
            {
                return new Placed(region, FileOffset + region.OffsetBytes, null, 0);
            }

            return PlaceForeign(region, descriptor, status, others);
        }
    }

    private Placed PlaceForeign(RegionDescription region, FileDescriptor descriptor, FileStatus status, List<Placed> others)
    {
        ulong page = status.BlockSize > MemoryMapping.PageSize && status.BlockSize % MemoryMapping.PageSize == 0 ? status.BlockSize : MemoryMapping.PageSize;
        ulong delta = region.OffsetBytes % page;
        ulong start = _foreignStart + delta;
        foreach (Placed other in others.Where(other => other.Mapping is not null).OrderBy(other => other.BarOffset))
        {
            if (other.BarOffset >= start && other.BarOffset - start >= region.LengthBytes)
            {
                break;
            }

            start = ((other.BarOffset + other.Description.LengthBytes + PlaceAlignment - 1) & ~(PlaceAlignment - 1)) + delta;
        }

        if (start > DeviceLayout.MemoryBarBytes || region.LengthBytes > DeviceLayout.MemoryBarBytes - start)
        {
            throw new MasterFault(
                $"the memory region at guest address 0x{region.GuestAddress:x}, 0x{region.LengthBytes:x} bytes, does not fit the BAR of 0x{DeviceLayout.MemoryBarBytes:x} bytes any more");
        }

        try
        {
            MemoryMapping mapping = MemoryMapping.MapShared(descriptor.Raw, region.OffsetBytes - delta, (nuint)(region.LengthBytes + delta));
            if (!_isWarned)
            {
                _isWarned = true;
                _report($"{region.LengthBytes >> 20} MiB of the other VM's memory are not in the file of --memory: each access to them is a message, some 10000 times slower than a load; give that VM memory-backend-file,share=on with that file");
            }

            return new Placed(region, start, mapping, delta);
        }
        catch (LinuxException exception)
        {
            throw new MasterFault($"the memory region at guest address 0x{region.GuestAddress:x} cannot be mapped: {exception.Message}");
        }
    }

    private static bool IsSame(in FileStatus a, in FileStatus b) => a.Device == b.Device && a.Inode == b.Inode;

    private unsafe int Find(ulong offset, int wanted, out byte* address)
    {
        ulong until = ulong.MaxValue;
        if (FileBytes != 0)
        {
            if (offset - FileOffset < FileBytes)
            {
                _trappedFile ??= MemoryMapping.MapShared(_file!.Raw, 0, (nuint)FileBytes);
                address = _trappedFile.Address + (offset - FileOffset);
                return (int)Math.Min((uint)wanted, FileBytes - (offset - FileOffset));
            }

            until = offset < FileOffset ? FileOffset : until;
        }

        foreach (Placed placed in _regions)
        {
            if (placed.Mapping is null)
            {
                continue;
            }

            if (offset - placed.BarOffset < placed.Description.LengthBytes)
            {
                ulong at = offset - placed.BarOffset;
                address = placed.Mapping.Address + placed.Delta + at;
                return (int)Math.Min((uint)wanted, placed.Description.LengthBytes - at);
            }

            if (placed.BarOffset > offset)
            {
                until = Math.Min(until, placed.BarOffset);
            }
        }

        address = null;
        return (int)Math.Min((uint)wanted, until - offset);
    }

    private sealed record Placed(RegionDescription Description, ulong BarOffset, MemoryMapping? Mapping, ulong Delta);
}
