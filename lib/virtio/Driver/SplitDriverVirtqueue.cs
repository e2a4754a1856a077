namespace Vhost.Virtio;

/// <summary>The driver's side of a split virtqueue (virtio 1.3, section 2.7).</summary>
// SAFETY: the memory was laid out for this size; every index is the driver's own or was checked by TryTakeBack.
internal sealed unsafe class SplitDriverVirtqueue : DriverVirtqueue
{
    private readonly ushort _mask;
    private ushort _freeHead;
    private ushort _nextAvailable;
    private ushort _publishedAvailable;
    private ushort _nextUsed;

    public SplitDriverVirtqueue(int size, ulong features, DriverVirtqueueMemory memory)
        : base(size, features, memory)
    {
        _mask = (ushort)(size - 1);
        for (var i = 0; i < size; i++)
        {
            _chains[i].Next = (ushort)(i + 1);
        }

        DisableInterrupts();
    }

    // Acquire: pairs with the device's release of the used index.
    public override bool HasUsed => Volatile.Read(ref *(ushort*)(_memory.Device + 2)) != _nextUsed;

    public override bool Publish()
    {
        var old = _publishedAvailable;
        if (old == _nextAvailable)
        {
            return false;
        }

        _publishedAvailable = _nextAvailable;
        // Release: pairs with the device's acquire of the available index.
        Volatile.Write(ref *(ushort*)(_memory.Driver + 2), _nextAvailable);
        // Full fence: pairs with the device's fence between asking for kicks and looking at the available index again.
        Interlocked.MemoryBarrier();
        return _hasEventIndex
            ? RingLayout.IsEventPassed(Volatile.Read(ref *(ushort*)(_memory.Device + 4 + (8 * Size))), _nextAvailable, old)
            : (Volatile.Read(ref *(ushort*)_memory.Device) & RingLayout.FlagSuppress) == 0;
    }

    public override bool TryGetUsed(out ulong token, out uint writtenBytes)
    {
        token = 0;
        writtenBytes = 0;
        if (BrokenReason != null)
        {
            return false;
        }

        var available = (ushort)(Volatile.Read(ref *(ushort*)(_memory.Device + 2)) - _nextUsed);
        if (available == 0)
        {
            return false;
        }

        if (available > UnderWayCount)
        {
            Break($"the device's used index says {available} results where {UnderWayCount} requests are under way");
            return false;
        }

        var element = Volatile.Read(ref *(ulong*)(_memory.Device + 4 + (8 * (_nextUsed & _mask))));
        var id = (uint)element;
        writtenBytes = (uint)(element >> 32);
        if (!TryTakeBack(id, writtenBytes, out token))
        {
            return false;
        }

        ReturnDescriptors((ushort)id);
        _nextUsed++;
        return true;
    }

    public override int PeekUsed(Span<ulong> tokens)
    {
        var available = (ushort)(Volatile.Read(ref *(ushort*)(_memory.Device + 2)) - _nextUsed);
        var count = Math.Min(Math.Min(available, UnderWayCount), tokens.Length);
        for (var i = 0; i < count; i++)
        {
            var id = *(uint*)(_memory.Device + 4 + (8 * ((_nextUsed + i) & _mask)));
            tokens[i] = _chains[id & _mask].Token;
        }

        return count;
    }

    public override bool TryEnableInterrupts()
    {
        if (_hasEventIndex)
        {
            Volatile.Write(ref *(ushort*)(_memory.Driver + 4 + (2 * Size)), _nextUsed);
        }

        Volatile.Write(ref *(ushort*)_memory.Driver, (ushort)0);
        // Full fence: pairs with the device's fence between publishing the used index and reading used_event or the flags.
        Interlocked.MemoryBarrier();
        if (!HasUsed)
        {
            return true;
        }

        DisableInterrupts();
        return false;
    }

    public override void DisableInterrupts()
    {
        if (_hasEventIndex)
        {
            // An index that has just been passed is not passed again for 65535 results.
            Volatile.Write(ref *(ushort*)(_memory.Driver + 4 + (2 * Size)), (ushort)(_nextUsed - 1));
        }
        else
        {
            Volatile.Write(ref *(ushort*)_memory.Driver, RingLayout.FlagSuppress);
        }
    }

    private protected override int AddChain(ReadOnlySpan<DriverSegment> readable, ReadOnlySpan<DriverSegment> writable, int needed, bool isIndirect)
    {
        var head = _freeHead;
        if (isIndirect)
        {
            var table = FillTable(head, readable, writable, isChained: true);
            WriteDescriptor(head, table, (uint)((readable.Length + writable.Length) * RingLayout.DescriptorBytes), RingLayout.FlagIndirect, 0);
            _freeHead = _chains[head].Next;
        }
        else
        {
            var index = head;
            var left = needed;
            foreach (var segment in readable)
            {
                index = Link(index, segment, 0, --left);
            }

            foreach (var segment in writable)
            {
                index = Link(index, segment, RingLayout.FlagWrite, --left);
            }

            _freeHead = index;
        }

        *(ushort*)(_memory.Driver + 4 + (2 * (_nextAvailable & _mask))) = head;
        _nextAvailable++;
        return head;
    }

    private ushort Link(ushort index, DriverSegment segment, ushort flags, int left)
    {
        var next = _chains[index].Next;
        WriteDescriptor(index, segment.Address, segment.LengthBytes, (ushort)(flags | (left != 0 ? RingLayout.FlagNext : 0)), left != 0 ? next : (ushort)0);
        return next;
    }

    private void WriteDescriptor(ushort index, ulong address, uint lengthBytes, ushort flags, ushort next)
    {
        var descriptor = _memory.Descriptors + (index * RingLayout.DescriptorBytes);
        *(ulong*)descriptor = address;
        *(ulong*)(descriptor + 8) = lengthBytes | ((ulong)flags << 32) | ((ulong)next << 48);
    }

    private void ReturnDescriptors(ushort head)
    {
        var last = head;
        for (var left = _chains[head].EntryCount; left > 1; left--)
        {
            last = _chains[last].Next;
        }

        _chains[head].EntryCount = 0;
        _chains[last].Next = _freeHead;
        _freeHead = head;
    }
}
