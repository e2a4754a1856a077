using System.Runtime.InteropServices;

namespace Vhost.Virtio;

/// <summary>One region of a <see cref="GuestAddressSpace"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct GuestRegion
{
    /// <summary>Guest address of the first byte.</summary>
    public ulong GuestAddress;

    /// <summary>Length; 0 stands for "no region" and matches no address.</summary>
    public ulong LengthBytes;

    /// <summary>Address of the first byte in this process.</summary>
    public byte* HostAddress;

    /// <summary>Whether this process may write to it.</summary>
    public bool IsWritable;
}
