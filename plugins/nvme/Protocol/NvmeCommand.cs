using System.Runtime.InteropServices;

namespace Vhost.Plugins.Nvme.Protocol;

/// <summary>A submission queue entry (NVM Express Base 2.0, figure 87), 64 bytes, little-endian.</summary>
[StructLayout(LayoutKind.Sequential, Size = 64)]
internal struct NvmeCommand
{
    /// <summary>CDW0 bits 7:0.</summary>
    public byte Opcode;

    /// <summary>CDW0 bits 15:8: fused operation, and in bits 7:6 PRP (0) or SGL (1).</summary>
    public byte Flags;

    /// <summary>CDW0 bits 31:16.</summary>
    public ushort CommandId;

    public uint NamespaceId;
    public uint Dword2;
    public uint Dword3;
    public ulong Metadata;

    /// <summary>PRP entry 1, or the address of the SGL descriptor in the command.</summary>
    public ulong Data1;

    /// <summary>PRP entry 2, or length and type of the SGL descriptor in the command.</summary>
    public ulong Data2;

    public uint Dword10;
    public uint Dword11;
    public uint Dword12;
    public uint Dword13;
    public uint Dword14;
    public uint Dword15;

    /// <summary><see cref="Flags"/>: data by SGL, metadata contiguous.</summary>
    public const byte UsesSgl = 0x40;
}
