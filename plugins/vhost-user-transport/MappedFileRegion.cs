using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.Plugins.VhostUserTransport;

/// <summary>A piece of guest memory in a file of the front-end.</summary>
internal sealed class MappedFileRegion : IMappedRegion
{
    private readonly FileMapping _mapping;
    private readonly FileStatus _status;

    private MappedFileRegion(in RegionDescription description, FileMapping mapping)
    {
        _mapping = mapping;
        _status = FileStatus.Of(mapping.File.Raw);
        var kind = mapping.IsHugeTlb ? MemoryBackingKind.HugeTlb : MemoryBackingKind.Ram;
        Region = new MemoryRegion(
            description.GuestAddress, mapping.Address, description.LengthBytes, mapping.IsWritable,
            new MemoryBacking(kind, mapping.PageSizeBytes, mapping.File.Raw, description.OffsetBytes));
    }

    /// <inheritdoc/>
    public MemoryRegion Region { get; }

    /// <summary>Whether a part of it went away after it was mapped.</summary>
    internal bool HasFailed => _mapping.HasFailed;

    /// <summary>Maps it.</summary>
    /// <param name="description">What the front-end says about it.</param>
    /// <param name="file">The file; owned from now on, also when this throws.</param>
    /// <param name="faulted">Signalled when a part of it goes away.</param>
    internal static MappedFileRegion Create(in RegionDescription description, FileDescriptor file, EventFd? faulted) => new(
        description,
        FileMapping.Create(file, description.OffsetBytes, description.LengthBytes, $"the memory region at guest address 0x{description.GuestAddress:x}", faulted));

    /// <inheritdoc/>
    public bool IsSameMemory(in RegionDescription description, FileDescriptor? descriptor)
    {
        if (descriptor is null || HasFailed || description.GuestAddress != Region.GuestAddress || description.LengthBytes != Region.LengthBytes
            || description.OffsetBytes != Region.Backing.FileOffsetBytes)
        {
            return false;
        }

        try
        {
            var status = FileStatus.Of(descriptor.Raw);

            // A file of the same identity that has shrunk since is not the same memory: mapping it anew finds that out.
            return status.Device == _status.Device && status.Inode == _status.Inode && status.Size >= _status.Size;
        }
        catch (LinuxException)
        {
            return false;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _mapping.Dispose();
}
