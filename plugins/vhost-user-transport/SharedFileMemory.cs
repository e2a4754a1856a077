using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.Plugins.VhostUserTransport;

/// <summary>Memory outside guest memory, in a file that both sides share.</summary>
internal sealed class SharedFileMemory : ISharedMemory
{
    private readonly FileMapping _mapping;
    private readonly bool _isOurs;

    private SharedFileMemory(FileMapping mapping, ulong lengthBytes, bool isOurs)
    {
        _mapping = mapping;
        _isOurs = isOurs;
        Area = new SharedArea(mapping.Address, lengthBytes);
    }

    /// <inheritdoc/>
    public SharedArea Area { get; }

    /// <inheritdoc/>
    public FileDescriptor? Descriptor => _isOurs ? _mapping.File : null;

    /// <summary>Whether a part of it went away after it was mapped.</summary>
    internal bool HasFailed => _mapping.HasFailed;

    /// <summary>Maps memory of the front-end.</summary>
    /// <param name="description">Where it lies.</param>
    /// <param name="file">The file; owned from now on, also when this throws.</param>
    /// <param name="purpose">Names it in messages.</param>
    /// <param name="faulted">Signalled when a part of it goes away.</param>
    internal static SharedFileMemory Map(in SharedAreaDescription description, FileDescriptor file, string purpose, EventFd? faulted)
    {
        if (description.LengthBytes == 0 || description.OffsetBytes > long.MaxValue || description.LengthBytes > long.MaxValue - description.OffsetBytes)
        {
            file.Dispose();
            throw new VhostUserException($"{purpose} has the impossible offset 0x{description.OffsetBytes:x} and length 0x{description.LengthBytes:x}");
        }

        var mapping = FileMapping.Create(file, description.OffsetBytes, description.LengthBytes, purpose, faulted);
        if (!mapping.IsWritable)
        {
            mapping.Dispose();
            throw new VhostUserException($"{purpose} is read-only");
        }

        return new SharedFileMemory(mapping, description.LengthBytes, isOurs: false);
    }

    /// <summary>Creates zeroed memory for the front-end to keep.</summary>
    /// <param name="lengthBytes">Its length.</param>
    /// <param name="purpose">Names it.</param>
    internal static SharedFileMemory Create(ulong lengthBytes, string purpose)
    {
        var file = MemoryFile.Create(purpose, lengthBytes);
        return new SharedFileMemory(FileMapping.Create(file, 0, lengthBytes, purpose, faulted: null), lengthBytes, isOurs: true);
    }

    /// <inheritdoc/>
    public void Dispose() => _mapping.Dispose();
}
