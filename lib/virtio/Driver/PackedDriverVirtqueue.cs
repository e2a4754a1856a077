namespace Vhost.Virtio;

/// <summary>The driver's side of a packed virtqueue (virtio 1.3, section 2.8).</summary>
// SAFETY: the memory was laid out for this size; positions and ids are the driver's own or were checked by TryTakeBack.
internal sealed unsafe class PackedDriverVirtqueue : DriverVirtqueue
{
    private const ushort WrapBit = 1 << 15;

    private ushort _freeId;
    private int _nextAvailable;
    private int _nextUsed;
    private int _unpublishedCount;
    private bool _availableWrap = true;
    private bool _usedWrap = true;
    private ushort* _firstFlags;
    private ushort _firstFlagsValue;

    public PackedDriverVirtqueue(int size, ulong features, DriverVirtqueueMemory memory)
        : base(size, features, memory)
    {
        for (var i = 0; i < size; i++)
        {
            _chains[i].Next = (ushort)(i + 1);
        }

        DisableInterrupts();
    }

    public override bool HasUsed
    {
        get
        {
            // Acquire: pairs with the device's release of these flags.
            var flags = Volatile.Read(ref *(ushort*)(_memory.Descriptors + (_nextUsed * RingLayout.DescriptorBytes) + 14));
            var isAvailable = (flags & RingLayout.FlagAvailable) != 0;
            var isUsed = (flags & RingLayout.FlagUsed) != 0;
            return isAvailable == isUsed && isUsed == _usedWrap;
        }
    }

    public override bool Publish()
    {
        if (_firstFlags == null)
        {
            return false;
        }

        // Release: pairs with the device's acquire of these flags; all that was added is visible before it.
        Volatile.Write(ref *_firstFlags, _firstFlagsValue);
        _firstFlags = null;
        var old = (ushort)(_nextAvailable - _unpublishedCount);
        _unpublishedCount = 0;
        // Full fence: pairs with the device's fence between asking for kicks and looking at the next descriptor again.
        Interlocked.MemoryBarrier();
        var deviceEvent = Volatile.Read(ref *(uint*)_memory.Device);
        var mode = (ushort)(deviceEvent >> 16) & 3;
        if (mode != RingLayout.EventAtDescriptor || !_hasEventIndex)
        {
            return mode != RingLayout.EventDisable;
        }

        var offset = (int)(deviceEvent & ~(uint)WrapBit & 0xffff);
        if (((deviceEvent & WrapBit) != 0) != _availableWrap)
        {
            offset -= Size;
        }

        return RingLayout.IsEventPassed((ushort)offset, (ushort)_nextAvailable, old);
    }

    public override bool TryGetUsed(out ulong token, out uint writtenBytes)
    {
        token = 0;
        writtenBytes = 0;
        if (BrokenReason != null || !HasUsed)
        {
            return false;
        }

        var descriptor = _memory.Descriptors + (_nextUsed * RingLayout.DescriptorBytes);
        writtenBytes = Volatile.Read(ref *(uint*)(descriptor + 8));
        uint id = Volatile.Read(ref *(ushort*)(descriptor + 12));
        if (!TryTakeBack(id, writtenBytes, out token))
        {
            return false;
        }

        ref var chain = ref _chains[id];
        _nextUsed += chain.EntryCount;
        if (_nextUsed >= Size)
        {
            _nextUsed -= Size;
            _usedWrap = !_usedWrap;
        }

        chain.EntryCount = 0;
        chain.Next = _freeId;
        _freeId = (ushort)id;
        return true;
    }

    public override bool TryEnableInterrupts()
    {
        if (_hasEventIndex)
        {
            Volatile.Write(ref *(ushort*)_memory.Driver, (ushort)(_nextUsed | (_usedWrap ? WrapBit : 0)));
            Volatile.Write(ref *(ushort*)(_memory.Driver + 2), RingLayout.EventAtDescriptor);
        }
        else
        {
            Volatile.Write(ref *(ushort*)(_memory.Driver + 2), RingLayout.EventEnable);
        }

        // Full fence: pairs with the device's fence between publishing used descriptors and reading this event structure.
        Interlocked.MemoryBarrier();
        if (!HasUsed)
        {
            return true;
        }

        DisableInterrupts();
        return false;
    }

    public override void DisableInterrupts() => Volatile.Write(ref *(ushort*)(_memory.Driver + 2), RingLayout.EventDisable);

    private protected override int AddChain(ReadOnlySpan<DriverSegment> readable, ReadOnlySpan<DriverSegment> writable, int needed, bool isIndirect)
    {
        var id = _freeId;
        _freeId = _chains[id].Next;
        if (isIndirect)
        {
            var table = FillTable(id, readable, writable, isChained: false);
            Write(table, (uint)((readable.Length + writable.Length) * RingLayout.DescriptorBytes), RingLayout.FlagIndirect, id);
        }
        else
        {
            var left = needed;
            foreach (var segment in readable)
            {
                Write(segment.Address, segment.LengthBytes, --left != 0 ? RingLayout.FlagNext : (ushort)0, id);
            }

            foreach (var segment in writable)
            {
                Write(segment.Address, segment.LengthBytes, (ushort)(RingLayout.FlagWrite | (--left != 0 ? RingLayout.FlagNext : 0)), id);
            }
        }

        return id;
    }

    private void Write(ulong address, uint lengthBytes, ushort flags, ushort id)
    {
        var descriptor = _memory.Descriptors + (_nextAvailable * RingLayout.DescriptorBytes);
        *(ulong*)descriptor = address;
        *(uint*)(descriptor + 8) = lengthBytes;
        *(ushort*)(descriptor + 12) = id;
        flags |= _availableWrap ? RingLayout.FlagAvailable : RingLayout.FlagUsed;
        if (_firstFlags == null)
        {
            // The first descriptor's flags are written last: they show the device all that was added.
            _firstFlags = (ushort*)(descriptor + 14);
            _firstFlagsValue = flags;
        }
        else
        {
            Volatile.Write(ref *(ushort*)(descriptor + 14), flags);
        }

        _unpublishedCount++;
        if (++_nextAvailable == Size)
        {
            _nextAvailable = 0;
            _availableWrap = !_availableWrap;
        }
    }
}
