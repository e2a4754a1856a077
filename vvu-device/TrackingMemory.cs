using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.VvuDevice;

/// <summary>
/// BAR 0: memory of the device's own, mapped by the client from the start. It holds the in-flight area, which the other VM keeps over restarts of the driver, and a
/// mirror of the dirty log, into which the driver writes at the speed of memory. The owner's lock guards it.
/// </summary>
// SAFETY: the mapping is as long as both windows and lives as long as this object; what comes from the other VM is checked against the windows first.
internal sealed unsafe class TrackingMemory : IDisposable
{
    /// <summary>Room for in-flight areas: 64 queues of 2048 entries, packed.</summary>
    public const ulong InFlightBytes = 4 << 20;

    /// <summary>Room for the dirty log: one bit for each page below 128 GiB, twice what BAR 2 can hold.</summary>
    public const ulong LogBytes = 4 << 20;

    /// <summary>What a client may map: both.</summary>
    public const ulong MappedBytes = InFlightBytes + LogBytes;

    /// <summary>Length of BAR 0. Behind what is mapped there is room for an in-flight area that another device made.</summary>
    public const ulong BarBytes = 16 << 20;

    private const ulong LogOffset = InFlightBytes;
    private const ulong ForeignOffset = MappedBytes;
    private const int WordBytes = sizeof(ulong);
    private readonly MemoryFile _file;
    private readonly FileStatus _identity;
    private readonly MemoryMapping _mapping;
    private readonly Action<string> _report;
    private MemoryMapping? _log;
    private ulong _logDelta;
    private ulong _logWords;
    private ulong _usedLogBytes;
    private MemoryMapping? _foreign;
    private ulong _foreignDelta;
    private ulong _foreignBytes;

    /// <summary>Creates it.</summary>
    /// <param name="report">Receives lines for the log.</param>
    public TrackingMemory(Action<string> report)
    {
        _report = report;
        _file = MemoryFile.Create("vvu-device tracking", MappedBytes);
        try
        {
            // The other VM's process gets this descriptor: it must not be able to take the memory away from the appliance's.
            _file.AddSeals(FileSeals.Shrink | FileSeals.Grow | FileSeals.Seal);
            _identity = FileStatus.Of(_file.Raw);
            _mapping = MemoryMapping.MapShared(_file.Raw, 0, (nuint)MappedBytes);
        }
        catch
        {
            _file.Dispose();
            throw;
        }
    }

    /// <summary>Descriptor number of the file that a client maps.</summary>
    public int FileDescriptorNumber => _file.Raw;

    /// <summary>Whether the other VM gave a log.</summary>
    public bool HasLog => _log is not null;

    /// <summary>Makes a new in-flight area of a reply that announces one: clears it, and tells where it lies in the file.</summary>
    /// <param name="description">What the driver wants.</param>
    /// <returns>What the other VM is told, and the descriptor that goes along; it stays this object's.</returns>
    /// <exception cref="MasterFault">It is too long.</exception>
    public (SharedAreaDescription Description, int Descriptor) CreateInFlight(SharedAreaDescription description)
    {
        if (description.LengthBytes > InFlightBytes)
        {
            throw new MasterFault($"an in-flight area of {description.LengthBytes} bytes for {description.QueueCount} queues of {description.QueueSize} entries is not carried, only {InFlightBytes} bytes: give the device fewer or shorter queues");
        }

        new Span<byte>(_mapping.Address, (int)description.LengthBytes).Clear();
        return (description with { OffsetBytes = 0 }, _file.Raw);
    }

    /// <summary>Finds a place for an in-flight area: its own if this device made it, else one that is reached by messages.</summary>
    /// <param name="description">As the other VM describes it.</param>
    /// <param name="descriptor">What it is in.</param>
    /// <returns>The description with the offset in BAR 0.</returns>
    /// <exception cref="MasterFault">It makes no sense.</exception>
    public SharedAreaDescription SetInFlight(SharedAreaDescription description, FileDescriptor descriptor)
    {
        using (descriptor)
        {
            FileStatus status = CheckFile("in-flight area", description, InFlightBytes, descriptor);
            DropForeign();
            if (status.Device == _identity.Device && status.Inode == _identity.Inode && description.OffsetBytes == 0)
            {
                return description;
            }

            (_foreign, _foreignDelta) = Map("in-flight area", description, descriptor, status);
            _foreignBytes = description.LengthBytes;
            _report("the other VM brings an in-flight area that this device did not make: each request is some messages slower until that VM is restarted");
            return description with { OffsetBytes = ForeignOffset };
        }
    }

    /// <summary>Takes the other VM's log in place of the former one, which gets what was marked until now.</summary>
    /// <param name="description">Where it lies in its file.</param>
    /// <param name="descriptor">The file.</param>
    /// <returns>The description with the mirror's offset in BAR 0.</returns>
    /// <exception cref="MasterFault">It cannot be.</exception>
    public SharedAreaDescription SetLog(SharedAreaDescription description, FileDescriptor descriptor)
    {
        using (descriptor)
        {
            FileStatus status = CheckFile("dirty log", description, LogBytes, descriptor);
            (MemoryMapping log, ulong delta) = Map("dirty log", description, descriptor, status);
            DropLog();
            (_log, _logDelta, _logWords) = (log, delta, description.LengthBytes / WordBytes);
            _usedLogBytes = Math.Max(_usedLogBytes, description.LengthBytes);
            return description with { OffsetBytes = LogOffset };
        }
    }

    /// <summary>Moves what the driver marked into the other VM's log.</summary>
    public void FlushLog()
    {
        if (_log is null)
        {
            return;
        }

        var from = (ulong*)(_mapping.Address + LogOffset);
        var to = (ulong*)(_log.Address + _logDelta);
        for (ulong i = 0; i < _logWords; i++)
        {
            if (Volatile.Read(ref from[i]) != 0)
            {
                // Atomic on both sides, full fences: the driver adds bits while the other VM takes them, and who sees a bit sees the page.
                Interlocked.Or(ref to[i], Interlocked.Exchange(ref from[i], 0));
            }
        }
    }

    /// <summary>Gives the log what is left, and lets go of it.</summary>
    public void DropLog()
    {
        FlushLog();
        _log?.Dispose();
        _log = null;
    }

    /// <summary>A new session: forgets what an earlier one brought, and what it marked when nobody took it any more.</summary>
    public void Clear()
    {
        DropForeign();
        new Span<byte>(_mapping.Address + LogOffset, (int)_usedLogBytes).Clear();
    }

    /// <summary>A trapped read; what is no memory reads as ones.</summary>
    public void Read(ulong offset, Span<byte> destination)
    {
        byte* address = Find(offset, destination.Length);
        if (address == null)
        {
            destination.Fill(0xff);
            return;
        }

        MemoryAccess.Read(address, destination);
    }

    /// <summary>A trapped write; what is no memory takes none.</summary>
    public void Write(ulong offset, ReadOnlySpan<byte> source)
    {
        byte* address = Find(offset, source.Length);
        if (address == null)
        {
            return;
        }

        if (offset is < LogOffset or >= MappedBytes)
        {
            MemoryAccess.Write(address, source);
            return;
        }

        // A trapped read-modify-write is not atomic: that two of them lose no bit, and revive none that matters, the log only ever gains bits.
        for (int i = 0; i < source.Length; i++)
        {
            ref uint word = ref *(uint*)((nint)(address + i) & ~3);
            Interlocked.Or(ref word, (uint)source[i] << (int)(8 * ((nint)(address + i) & 3)));
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        DropForeign();
        _log?.Dispose();
        _mapping.Dispose();
        _file.Dispose();
    }

    private static FileStatus CheckFile(string name, SharedAreaDescription description, ulong limit, FileDescriptor descriptor)
    {
        FileStatus status = FileStatus.Of(descriptor.Raw);
        if (status.Kind != FileKind.Regular || description.OffsetBytes > status.Size || description.LengthBytes > status.Size - description.OffsetBytes)
        {
            throw new MasterFault(
                $"the {name} ends at 0x{description.OffsetBytes:x} + 0x{description.LengthBytes:x}, but its descriptor is {(status.Kind == FileKind.Regular ? $"a file of 0x{status.Size:x} bytes" : "no memory file")}");
        }

        return description.LengthBytes != 0 && description.LengthBytes <= limit && (description.LengthBytes | description.OffsetBytes) % WordBytes == 0
            ? status
            : throw new MasterFault($"the {name} has {description.LengthBytes} bytes at 0x{description.OffsetBytes:x}: only whole words are carried, and {limit} bytes at most");
    }

    private static (MemoryMapping Mapping, ulong Delta) Map(string name, SharedAreaDescription description, FileDescriptor descriptor, in FileStatus status)
    {
        ulong page = status.BlockSize > MemoryMapping.PageSize && status.BlockSize % MemoryMapping.PageSize == 0 ? status.BlockSize : MemoryMapping.PageSize;
        ulong delta = description.OffsetBytes % page;
        try
        {
            return (MemoryMapping.MapShared(descriptor.Raw, description.OffsetBytes - delta, (nuint)(description.LengthBytes + delta)), delta);
        }
        catch (LinuxException exception)
        {
            throw new MasterFault($"the {name} cannot be mapped: {exception.Message}");
        }
    }

    private void DropForeign()
    {
        _foreign?.Dispose();
        _foreign = null;
        _foreignBytes = 0;
    }

    private byte* Find(ulong offset, int length)
    {
        if (offset < MappedBytes && (ulong)length <= MappedBytes - offset)
        {
            return _mapping.Address + offset;
        }

        return offset >= ForeignOffset && offset - ForeignOffset < _foreignBytes && (ulong)length <= _foreignBytes - (offset - ForeignOffset)
            ? _foreign!.Address + _foreignDelta + (offset - ForeignOffset)
            : null;
    }
}
