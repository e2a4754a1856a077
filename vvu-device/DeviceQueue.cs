using Vhost.VfioUser;

namespace Vhost.VvuDevice;

/// <summary>
/// The device's side of a split virtqueue that carries one message in each chain (virtio 1.3, section 2.7). It lies in the driver's memory, of which nothing is
/// believed: each field is read once and checked, each chain is bounded by the queue's size. The owner's lock guards it.
/// </summary>
/// <param name="name">Names it in messages.</param>
// SAFETY: every address is translated anew, with its whole length, for each use, and the client's memory is unmapped only under the owner's lock.
internal sealed unsafe class DeviceQueue(string name)
{
    /// <summary>Entries, at most.</summary>
    public const ushort MaxSize = 128;

    private const int DescriptorBytes = 16;
    private const ushort FlagNext = 1;
    private const ushort FlagWrite = 2;
    private const ushort FlagIndirect = 4;
    private const ushort NoInterrupt = 1;
    private bool _hasEventIndex;
    private ushort _nextAvailable;
    private ushort _nextUsed;

    /// <summary>Entries.</summary>
    public ushort Size { get; set; }

    /// <summary>MSI-X vector.</summary>
    public ushort Vector { get; set; }

    /// <summary>Whether the driver enabled it.</summary>
    public bool IsEnabled { get; private set; }

    /// <summary>Device address of the descriptor table.</summary>
    public ulong Descriptors { get; set; }

    /// <summary>Device address of the available ring.</summary>
    public ulong Driver { get; set; }

    /// <summary>Device address of the used ring.</summary>
    public ulong Device { get; set; }

    /// <summary>As after power on.</summary>
    public void Reset()
    {
        Size = MaxSize;
        Vector = VirtioRegisters.NoVector;
        IsEnabled = false;
        Descriptors = Driver = Device = 0;
        _nextAvailable = _nextUsed = 0;
    }

    /// <summary>The driver enables it.</summary>
    public void Enable(bool hasEventIndex)
    {
        IsEnabled = true;
        _hasEventIndex = hasEventIndex;
    }

    /// <summary>Whether the driver has given a chain. Where it has not, the driver is asked to notify when it does.</summary>
    /// <exception cref="DriverFault">The ring is broken.</exception>
    public bool HasChain(VfioUserDma dma)
    {
        if (Count(dma) > 0)
        {
            return true;
        }

        if (_hasEventIndex)
        {
            Volatile.Write(ref *(ushort*)(Ring(dma, Device, 4 + (8 * Size) + 2, true, "used ring") + 4 + (8 * Size)), _nextAvailable);
        }

        // Full fence: pairs with the driver's between publishing the available index and reading avail_event.
        Interlocked.MemoryBarrier();
        return Count(dma) > 0;
    }

    /// <summary>Takes a chain that the device reads: copies it, and gives it back.</summary>
    /// <returns>Its length; more than the destination holds if it is too long.</returns>
    public int Read(VfioUserDma dma, Span<byte> destination)
    {
        ushort head = Take(dma);
        int length = 0;
        byte* table = Table(dma);
        ushort index = head;
        for (int left = Size; ; left--)
        {
            (ulong address, uint bytes, ushort flags, ushort next) = Descriptor(table, index, left);
            if ((flags & FlagWrite) != 0)
            {
                throw new DriverFault($"the {name} queue holds a chain with a buffer for the device to write to");
            }

            int room = Math.Max(0, destination.Length - length);
            int part = (int)Math.Min(bytes, (uint)room);
            if (part > 0)
            {
                new ReadOnlySpan<byte>(Buffer(dma, address, part, false), part).CopyTo(destination[length..]);
            }

            // Saturates: what is too long is only known to be so.
            length = (int)Math.Min((uint)length + (ulong)bytes, int.MaxValue);
            if ((flags & FlagNext) == 0)
            {
                break;
            }

            index = next;
        }

        GiveBack(dma, head, 0);
        return length;
    }

    /// <summary>Takes a chain that the device writes, fills it and gives it back.</summary>
    public void Write(VfioUserDma dma, ReadOnlySpan<byte> first, ReadOnlySpan<byte> second)
    {
        ushort head = Take(dma);
        int total = first.Length + second.Length;
        byte* table = Table(dma);
        ushort index = head;
        for (int left = Size; ; left--)
        {
            (ulong address, uint bytes, ushort flags, ushort next) = Descriptor(table, index, left);
            if ((flags & FlagWrite) == 0)
            {
                throw new DriverFault($"the {name} queue holds a chain with a buffer that the device may only read");
            }

            int part = (int)Math.Min(bytes, (uint)(first.Length + second.Length));
            if (part > 0)
            {
                var target = new Span<byte>(Buffer(dma, address, part, true), part);
                int fromFirst = Math.Min(part, first.Length);
                first[..fromFirst].CopyTo(target);
                second[..(part - fromFirst)].CopyTo(target[fromFirst..]);
                first = first[fromFirst..];
                second = second[(part - fromFirst)..];
            }

            if (first.Length + second.Length == 0)
            {
                break;
            }

            if ((flags & FlagNext) == 0)
            {
                throw new DriverFault($"the {name} queue holds a chain that is {first.Length + second.Length} bytes too short for a message of {total}");
            }

            index = next;
        }

        GiveBack(dma, head, (uint)total);
    }

    /// <summary>Whether the driver wants an interrupt for what was given back since <paramref name="before"/>.</summary>
    public bool WantsInterrupt(VfioUserDma dma, ushort before)
    {
        // Full fence: pairs with the driver's between asking for interrupts and looking at the used index again.
        Interlocked.MemoryBarrier();
        byte* available = Ring(dma, Driver, 4 + (2 * Size) + 2, false, "available ring");
        if (!_hasEventIndex)
        {
            return (Volatile.Read(ref *(ushort*)available) & NoInterrupt) == 0;
        }

        ushort used = Volatile.Read(ref *(ushort*)(available + 4 + (2 * Size)));
        return (ushort)(_nextUsed - used - 1) < (ushort)(_nextUsed - before);
    }

    /// <summary>How many chains were given back, modulo 2^16.</summary>
    public ushort UsedIndex => _nextUsed;

    private int Count(VfioUserDma dma)
    {
        byte* available = Ring(dma, Driver, 4 + (2 * Size), false, "available ring");
        // Acquire: pairs with the driver's release of the available index; entries and descriptors are visible after it.
        ushort count = (ushort)(Volatile.Read(ref *(ushort*)(available + 2)) - _nextAvailable);
        return count <= Size ? count : throw new DriverFault($"the available index of the {name} queue is {count} ahead of a ring of {Size}");
    }

    private ushort Take(VfioUserDma dma)
    {
        byte* available = Ring(dma, Driver, 4 + (2 * Size), false, "available ring");
        ushort head = Volatile.Read(ref *(ushort*)(available + 4 + (2 * (_nextAvailable & (Size - 1)))));
        if (head >= Size)
        {
            throw new DriverFault($"the {name} queue names the descriptor {head} of {Size}");
        }

        _nextAvailable++;
        return head;
    }

    private byte* Table(VfioUserDma dma) => Ring(dma, Descriptors, Size * DescriptorBytes, false, "descriptor table");

    private (ulong Address, uint Bytes, ushort Flags, ushort Next) Descriptor(byte* table, ushort index, int left)
    {
        if (index >= Size || left == 0)
        {
            throw new DriverFault($"the {name} queue holds a chain that {(left == 0 ? "loops" : $"goes on at the descriptor {index} of {Size}")}");
        }

        byte* descriptor = table + (index * DescriptorBytes);
        ulong address = Volatile.Read(ref *(ulong*)descriptor);
        ulong rest = Volatile.Read(ref *(ulong*)(descriptor + 8));
        var flags = (ushort)(rest >> 32);
        return (flags & FlagIndirect) == 0
            ? (address, (uint)rest, flags, (ushort)(rest >> 48))
            : throw new DriverFault($"the {name} queue holds an indirect descriptor, which was not negotiated");
    }

    private void GiveBack(VfioUserDma dma, ushort head, uint written)
    {
        byte* used = Ring(dma, Device, 4 + (8 * Size), true, "used ring");
        *(ulong*)(used + 4 + (8 * (_nextUsed & (Size - 1)))) = head | ((ulong)written << 32);
        _nextUsed++;
        // Release: pairs with the driver's acquire of the used index; the message and the used element are visible before it.
        Volatile.Write(ref *(ushort*)(used + 2), _nextUsed);
    }

    private byte* Ring(VfioUserDma dma, ulong iova, int bytes, bool forWriting, string part)
    {
        if ((iova & (part[0] == 'd' ? 15u : part[0] == 'u' ? 3u : 1u)) != 0)
        {
            throw new DriverFault($"the {part} of the {name} queue at 0x{iova:x} is not aligned");
        }

        return Translate(dma, iova, bytes, forWriting, part);
    }

    private byte* Buffer(VfioUserDma dma, ulong iova, int bytes, bool forWriting) => Translate(dma, iova, bytes, forWriting, "buffer");

    private byte* Translate(VfioUserDma dma, ulong iova, int bytes, bool forWriting, string part) =>
        dma.TryTranslate(iova, (ulong)bytes, forWriting, out nint address)
            ? (byte*)address
            : throw new DriverFault(
                $"the {part} of the {name} queue, {bytes} bytes at 0x{iova:x}, is not memory that this process can map; QEMU: give the VM memory-backend-memfd,share=on");
}
