using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.Testing.FrontEnd;

/// <summary>One region of a <see cref="GuestMemory"/>.</summary>
public sealed unsafe class GuestRegion : IDisposable
{
    private readonly MemoryMapping _mapping;
    private ulong _usedBytes;

    internal GuestRegion(RegionDescription description, ulong hugePageSizeBytes)
    {
        Description = description;
        File = MemoryFile.Create("guest memory", description.LengthBytes, (nuint)hugePageSizeBytes);
        _mapping = MemoryMapping.MapShared(File.Raw, 0, (nuint)description.LengthBytes, populate: true);
    }

    internal GuestRegion(RegionDescription description, FileDescriptor file)
    {
        Description = description;
        File = file;
        _mapping = MemoryMapping.MapShared(file.Raw, 0, (nuint)description.LengthBytes);
    }

    /// <summary>How it is announced.</summary>
    public RegionDescription Description { get; }

    /// <summary>The file behind it.</summary>
    public FileDescriptor File { get; }

    /// <summary>Address of its first byte in this process.</summary>
    public nint HostAddress => (nint)_mapping.Address;

    /// <summary>Takes memory out of it.</summary>
    /// <param name="lengthBytes">How much.</param>
    /// <param name="alignment">A power of two.</param>
    public GuestBuffer Allocate(int lengthBytes, int alignment)
    {
        var start = (_usedBytes + (ulong)alignment - 1) & ~((ulong)alignment - 1);
        if (start > Description.LengthBytes || (ulong)lengthBytes > Description.LengthBytes - start)
        {
            throw new InvalidOperationException($"the guest region of {Description.LengthBytes} bytes has no room for {lengthBytes} more");
        }

        _usedBytes = start + (ulong)lengthBytes;
        return new GuestBuffer(Description.GuestAddress + start, Description.UserAddress + start, HostAddress + (nint)start, lengthBytes);
    }

    /// <summary>Announces it to a back-end by itself.</summary>
    /// <param name="connection">The connection.</param>
    public void Announce(FrontEndConnection connection)
    {
        ArgumentNullException.ThrowIfNull(connection);
        connection.Tell(FrontEndRequest.AddMemoryRegion, Payload(), File.Raw);
    }

    /// <summary>Withdraws it from a back-end.</summary>
    /// <param name="connection">The connection.</param>
    public void Withdraw(FrontEndConnection connection)
    {
        ArgumentNullException.ThrowIfNull(connection);
        connection.Tell(FrontEndRequest.RemoveMemoryRegion, Payload());
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _mapping.Dispose();
        File.Dispose();
    }

    private byte[] Payload()
    {
        var payload = new byte[RegionDescription.PrefixBytes + RegionDescription.WireBytes];
        Description.Write(payload.AsSpan(RegionDescription.PrefixBytes));
        return payload;
    }
}
