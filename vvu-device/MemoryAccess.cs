namespace Vhost.VvuDevice;

/// <summary>Trapped accesses to memory: one of the width of a register happens at once, so that a driver's load of a ring index is not torn.</summary>
// SAFETY: the caller has checked that the whole range is mapped.
internal static unsafe class MemoryAccess
{
    /// <summary>Reads.</summary>
    public static void Read(byte* address, Span<byte> target)
    {
        switch (target.Length)
        {
            case 2 when ((nint)address & 1) == 0:
                BitConverter.TryWriteBytes(target, Volatile.Read(ref *(ushort*)address));
                break;
            case 4 when ((nint)address & 3) == 0:
                BitConverter.TryWriteBytes(target, Volatile.Read(ref *(uint*)address));
                break;
            case 8 when ((nint)address & 7) == 0:
                BitConverter.TryWriteBytes(target, Volatile.Read(ref *(ulong*)address));
                break;
            default:
                new ReadOnlySpan<byte>(address, target.Length).CopyTo(target);
                break;
        }
    }

    /// <summary>Writes.</summary>
    public static void Write(byte* address, ReadOnlySpan<byte> data)
    {
        switch (data.Length)
        {
            case 2 when ((nint)address & 1) == 0:
                Volatile.Write(ref *(ushort*)address, BitConverter.ToUInt16(data));
                break;
            case 4 when ((nint)address & 3) == 0:
                Volatile.Write(ref *(uint*)address, BitConverter.ToUInt32(data));
                break;
            case 8 when ((nint)address & 7) == 0:
                Volatile.Write(ref *(ulong*)address, BitConverter.ToUInt64(data));
                break;
            default:
                data.CopyTo(new Span<byte>(address, data.Length));
                break;
        }
    }
}
