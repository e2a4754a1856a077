using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using Vhost.Linux;

namespace Vhost.Pci.Devices;

/// <summary>What lies behind a BAR: how to map parts of it, and how to reach the rest.</summary>
internal interface IBarBackend
{
    /// <summary>Maps a part, page aligned; null where it cannot be mapped.</summary>
    MemoryMapping? TryMap(ulong offset, ulong length);

    /// <summary>Reads 1, 2, 4 or 8 bytes without a mapping.</summary>
    void Read(ulong offset, Span<byte> destination);

    /// <summary>Writes 1, 2, 4 or 8 bytes without a mapping.</summary>
    void Write(ulong offset, ReadOnlySpan<byte> source);
}

/// <summary>
/// A BAR that maps itself in windows as registers are used, so that a BAR of 64 GiB costs no more than its registers. What cannot be mapped is trapped.
/// </summary>
internal sealed unsafe class SegmentedBar(PciFunction owner, int index, ulong length, ulong physicalAddress, IBarBackend backend) : PciBar, IDisposable
{
    private const ulong Window = 1 << 20;

    private readonly Lock _lock = new();
    // Mappings that outlive their device: rooted here, so that no finalizer unmaps them.
    private static readonly System.Collections.Concurrent.ConcurrentBag<MemoryMapping> Kept = [];

    private readonly List<MemoryMapping> _mappings = [];
    private Segment[] _segments = [];

    // The segment used last: one register file is one segment. Racing threads overwrite it harmlessly.
    private Segment _recent = Segment.Empty;

    public override int Index => index;

    public override ulong LengthBytes => length;

    public override ulong PhysicalAddress => physicalAddress;

    public override nint TryMap(ulong offsetBytes, ulong lengthBytes)
    {
        const ulong PageMask = 4095;
        if (((offsetBytes | lengthBytes) & PageMask) != 0 || lengthBytes == 0 || offsetBytes > length || lengthBytes > length - offsetBytes)
        {
            throw new PciException($"{owner.Address}: 0x{offsetBytes:x} + 0x{lengthBytes:x} is no range of whole pages of BAR {index} with 0x{length:x} bytes");
        }

        lock (_lock)
        {
            if (owner.IsRemoved || backend.TryMap(offsetBytes, lengthBytes) is not { } mapping)
            {
                return 0;
            }

            _mappings.Add(mapping);
            return (nint)mapping.Address;
        }
    }

    public override void KeepMappings()
    {
        lock (_lock)
        {
            _mappings.ForEach(Kept.Add);
            _mappings.Clear();
        }
    }

    public override byte Read8(ulong offsetBytes)
    {
        byte* p = Locate(offsetBytes, 1);
        if (p != null)
        {
            return Volatile.Read(ref *p);
        }

        return (byte)ReadTrapped(offsetBytes, 1);
    }

    public override ushort Read16(ulong offsetBytes)
    {
        byte* p = Locate(offsetBytes, 2);
        return p != null ? Volatile.Read(ref *(ushort*)p) : (ushort)ReadTrapped(offsetBytes, 2);
    }

    public override uint Read32(ulong offsetBytes)
    {
        byte* p = Locate(offsetBytes, 4);
        return p != null ? Volatile.Read(ref *(uint*)p) : (uint)ReadTrapped(offsetBytes, 4);
    }

    public override ulong Read64(ulong offsetBytes)
    {
        byte* p = Locate(offsetBytes, 8);
        return p != null ? Volatile.Read(ref *(ulong*)p) : ReadTrapped(offsetBytes, 8);
    }

    public override void Write8(ulong offsetBytes, byte value)
    {
        byte* p = Locate(offsetBytes, 1);
        Order();
        if (p != null)
        {
            Volatile.Write(ref *p, value);
        }
        else
        {
            WriteTrapped(offsetBytes, value, 1);
        }
    }

    public override void Write16(ulong offsetBytes, ushort value)
    {
        byte* p = Locate(offsetBytes, 2);
        Order();
        if (p != null)
        {
            Volatile.Write(ref *(ushort*)p, value);
        }
        else
        {
            WriteTrapped(offsetBytes, value, 2);
        }
    }

    public override void Write32(ulong offsetBytes, uint value)
    {
        byte* p = Locate(offsetBytes, 4);
        Order();
        if (p != null)
        {
            Volatile.Write(ref *(uint*)p, value);
        }
        else
        {
            WriteTrapped(offsetBytes, value, 4);
        }
    }

    public override void Write64(ulong offsetBytes, ulong value)
    {
        byte* p = Locate(offsetBytes, 8);
        Order();
        if (p != null)
        {
            Volatile.Write(ref *(ulong*)p, value);
        }
        else
        {
            WriteTrapped(offsetBytes, value, 8);
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            Volatile.Write(ref _segments, []);
            _recent = Segment.Empty;
            _mappings.ForEach(m => m.Dispose());
            _mappings.Clear();
            (backend as IDisposable)?.Dispose();
        }
    }

    /// <summary>
    /// Stores that come before in program order are visible to the device before the register. x86 keeps stores in order; elsewhere the
    /// fence pairs with the device's reads of memory after it has seen the register.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Order()
    {
        if (!X86Base.IsSupported)
        {
            Interlocked.MemoryBarrier();
        }
    }

    /// <summary>The mapped address of a register; null where it must be trapped.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private byte* Locate(ulong offset, uint width)
    {
        Segment segment = _recent;
        ulong at = offset - segment.Offset;
        if (at < segment.Length && segment.Length - at >= width && (offset & (width - 1)) == 0 && !owner.IsRemoved)
        {
            // SAFETY: the range lies in a mapping that lives as long as the device; a removed device is not touched.
            return segment.Address + at;
        }

        return LocateSlowly(offset, width);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private byte* LocateSlowly(ulong offset, uint width)
    {
        if ((offset & (width - 1)) != 0 || offset >= length || length - offset < width)
        {
            throw new PciException($"{owner.Address}: a register of {width} bytes at 0x{offset:x} is misaligned or outside of BAR {index} with 0x{length:x} bytes");
        }

        if (owner.IsRemoved)
        {
            return null;
        }

        Segment? found = Find(offset);
        if (found is null)
        {
            lock (_lock)
            {
                found = Find(offset) ?? MapAround(offset);
            }
        }

        if (found.Address == null)
        {
            return null;
        }

        _recent = found;
        return found.Address + (offset - found.Offset);
    }

    private Segment? Find(ulong offset)
    {
        foreach (Segment segment in Volatile.Read(ref _segments))
        {
            if (offset - segment.Offset < segment.Length)
            {
                return segment;
            }
        }

        return null;
    }

    private Segment MapAround(ulong offset)
    {
        // The whole window where that is possible, else the page alone, else a remembered page that is trapped. Every page is one kind
        // or the other, so the narrower attempt finds what a device offers in single pages.
        ulong page = offset & ~4095UL;
        ulong window = offset & ~(Window - 1);
        ulong windowLength = Math.Min(Window, length - window) & ~4095UL;
        Segment segment = Map(window, windowLength) ?? Map(page, 4096) ?? new Segment(page, Math.Min(4096, length - page), null);
        Volatile.Write(ref _segments, [.. _segments, segment]);
        return segment;
    }

    private Segment? Map(ulong offset, ulong bytes)
    {
        if (bytes == 0 || bytes > length - offset || backend.TryMap(offset, bytes) is not { } mapping)
        {
            return null;
        }

        _mappings.Add(mapping);
        return new Segment(offset, bytes, mapping.Address);
    }

    private ulong ReadTrapped(ulong offset, int width)
    {
        Span<byte> value = stackalloc byte[8];
        value.Fill(0xff);
        if (!owner.IsRemoved)
        {
            try
            {
                backend.Read(offset, value[..width]);
            }
            catch (IOException e)
            {
                owner.MarkRemoved(e.Message);
                value.Fill(0xff);
            }
        }

        return BinaryPrimitives.ReadUInt64LittleEndian(value);
    }

    private void WriteTrapped(ulong offset, ulong value, int width)
    {
        if (owner.IsRemoved)
        {
            return;
        }

        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        try
        {
            backend.Write(offset, bytes[..width]);
        }
        catch (IOException e)
        {
            owner.MarkRemoved(e.Message);
        }
    }

    private sealed class Segment(ulong offset, ulong length, byte* address)
    {
        public static readonly Segment Empty = new(0, 0, null);

        public readonly ulong Offset = offset;
        public readonly ulong Length = length;
        public readonly byte* Address = address;
    }
}
