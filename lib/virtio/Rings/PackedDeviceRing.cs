using System.Runtime.CompilerServices;
using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>The device's side of a packed virtqueue (virtio 1.3, section 2.8).</summary>
// SAFETY: the ring's areas are mapped and lie wholly within guest memory, as the transport checked, for as long as the queue runs; positions
// are this side's own and stay below the size, and the driver's fields become addresses only through the parser.
internal unsafe struct PackedDeviceRing : IDeviceRing
{
    private const ushort WrapBit = 1 << 15;

    private readonly int _size;
    private readonly int _maxTableEntries;
    private readonly bool _hasEventIndex;
    private readonly bool _hasIndirect;
    private byte* _descriptors;
    private byte* _driverEvent;
    private byte* _deviceEvent;
    private int _nextAvailable;
    private int _nextUsed;
    private int _consideredUsed;
    private int _entriesUnderWay;
    private bool _availableWrap;
    private bool _usedWrap;
    private bool _isFirstNotification;
    private ushort* _firstFlags;
    private ushort _firstFlagsValue;

    /// <summary>Sets the ring up.</summary>
    /// <param name="setup">Where it lies and where to continue.</param>
    /// <param name="features">What was negotiated.</param>
    public PackedDeviceRing(VirtqueueSetup setup, ulong features)
    {
        _size = setup.Size;
        _maxTableEntries = Math.Max(setup.Size, Virtqueue.MinTableLimit);
        _hasEventIndex = (features & VirtioFeatures.EventIndex) != 0;
        _hasIndirect = (features & VirtioFeatures.IndirectDescriptors) != 0;
        _nextAvailable = setup.State.NextAvailable & ~WrapBit;
        _availableWrap = (setup.State.NextAvailable & WrapBit) != 0;
        _nextUsed = setup.State.NextUsed & ~WrapBit;
        _usedWrap = (setup.State.NextUsed & WrapBit) != 0;
        _consideredUsed = _nextUsed;
        _isFirstNotification = true;
        Move(setup.Addresses);
    }

    /// <inheritdoc/>
    public readonly VirtqueueState State => new(
        (ushort)(_nextAvailable | (_availableWrap ? WrapBit : 0)),
        (ushort)(_nextUsed | (_usedWrap ? WrapBit : 0)));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int BeginTake(out ChainFault fault)
    {
        fault = ChainFault.None;
        return _size;
    }

    /// <inheritdoc/>
    // The descriptors follow each other: the CPU's own prefetcher runs ahead.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Prefetch(int count)
    {
    }

    /// <inheritdoc/>
    // The descriptors that say that there is a chain are the chain.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void PrefetchAgain()
    {
    }

    /// <inheritdoc/>
    public readonly byte* NextUsedLine => null;

    /// <inheritdoc/>
    // Whether there is a chain says the descriptor itself: to look at it now would only take it from the driver, who writes beside it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void PrefetchNext(int limit)
    {
    }

    /// <inheritdoc/>
    public PopResult TryTake(ref ChainParser parser, VirtioRequest* request, out ChainFault fault)
    {
        fault = ChainFault.None;
        var position = _nextAvailable;
        var wrap = _availableWrap;
        var descriptor = _descriptors + (position * RingLayout.DescriptorBytes);
        // Acquire: pairs with the driver's release of the first descriptor's flags; all of the chain is visible after it.
        var flags = Volatile.Read(ref *(ushort*)(descriptor + 14));
        if (!IsAvailable(flags, wrap))
        {
            return PopResult.Empty;
        }

        parser.Begin(request);
        var free = _size - _entriesUnderWay;
        var count = 0;
        while (true)
        {
            if (++count > free)
            {
                fault = ChainFault.PackedOverrun;
                break;
            }

            // Each field is read once: the driver may change it at any time.
            var address = Volatile.Read(ref *(ulong*)descriptor);
            var lengthBytes = Volatile.Read(ref *(uint*)(descriptor + 8));
            if ((flags & RingLayout.FlagIndirect) != 0)
            {
                fault = TakeTable(ref parser, address, lengthBytes, flags);
            }
            else
            {
                parser.Append(address, lengthBytes, (flags & RingLayout.FlagWrite) != 0);
            }

            if (++position == _size)
            {
                position = 0;
                wrap = !wrap;
            }

            if ((flags & RingLayout.FlagNext) == 0 || fault != ChainFault.None)
            {
                break;
            }

            descriptor = _descriptors + (position * RingLayout.DescriptorBytes);
            flags = Volatile.Read(ref *(ushort*)(descriptor + 14));
            if (!IsAvailable(flags, wrap))
            {
                fault = ChainFault.PackedWrapCounter;
                break;
            }
        }

        if (fault != ChainFault.None)
        {
            parser.Abandon();
            return PopResult.Broken;
        }

        if (parser.IsOutOfStorage)
        {
            parser.Abandon();
            return PopResult.NoStorage;
        }

        // The buffer id is that of the chain's last descriptor. It is the driver's own: the device only gives it back.
        request->Id = Volatile.Read(ref *(ushort*)(descriptor + 12));
        request->RingEntryCount = (ushort)count;
        parser.Finish();
        _nextAvailable = position;
        _availableWrap = wrap;
        _entriesUnderWay += count;
        return PopResult.Taken;
    }

    /// <inheritdoc/>
    public void Resume(VirtqueueState state, int entriesUnderWay)
    {
        _nextAvailable = state.NextAvailable & ~WrapBit;
        _availableWrap = (state.NextAvailable & WrapBit) != 0;
        _nextUsed = state.NextUsed & ~WrapBit;
        _usedWrap = (state.NextUsed & WrapBit) != 0;
        _consideredUsed = _nextUsed;
        _entriesUnderWay = entriesUnderWay;
    }

    /// <inheritdoc/>
    public readonly PopResult TakeAgain(ref ChainParser parser, VirtioRequest* request, ushort entry, byte* descriptors, int count, out ChainFault fault)
    {
        fault = ChainFault.None;
        parser.Begin(request);
        for (var i = 0; i < count && fault == ChainFault.None; i++)
        {
            var descriptor = descriptors + (i * RingLayout.DescriptorBytes);
            var flags = *(ushort*)(descriptor + 14);
            request->Id = *(ushort*)(descriptor + 12);
            if ((flags & RingLayout.FlagIndirect) != 0)
            {
                fault = TakeTable(ref parser, *(ulong*)descriptor, *(uint*)(descriptor + 8), flags);
            }
            else
            {
                parser.Append(*(ulong*)descriptor, *(uint*)(descriptor + 8), (flags & RingLayout.FlagWrite) != 0);
            }
        }

        if (fault != ChainFault.None || parser.IsOutOfStorage)
        {
            parser.Abandon();
            return fault != ChainFault.None ? PopResult.Broken : PopResult.NoStorage;
        }

        request->RingEntryCount = (ushort)count;
        parser.Finish();
        return PopResult.Taken;
    }

    /// <inheritdoc/>
    public void PushUsed(VirtioRequest* request)
    {
        var descriptor = _descriptors + (_nextUsed * RingLayout.DescriptorBytes);
        *(uint*)(descriptor + 8) = request->WrittenBytes;
        *(ushort*)(descriptor + 12) = request->Id;
        var flags = (ushort)((_usedWrap ? RingLayout.FlagAvailable | RingLayout.FlagUsed : 0) | (request->WrittenBytes != 0 ? RingLayout.FlagWrite : 0));
        if (_firstFlags == null)
        {
            // The first element's flags are written last: they show the driver the whole batch.
            _firstFlags = (ushort*)(descriptor + 14);
            _firstFlagsValue = flags;
        }
        else
        {
            Volatile.Write(ref *(ushort*)(descriptor + 14), flags);
        }

        int count = request->RingEntryCount;
        _entriesUnderWay -= count;
        _nextUsed += count;
        if (_nextUsed >= _size)
        {
            _nextUsed -= _size;
            _usedWrap = !_usedWrap;
        }
    }

    /// <inheritdoc/>
    public void Publish()
    {
        // Release: pairs with the driver's acquire of these flags; the data and the other elements of the batch are visible before it.
        Volatile.Write(ref *_firstFlags, _firstFlagsValue);
        _firstFlags = null;
    }

    /// <inheritdoc/>
    public bool ShouldNotify()
    {
        // Full fence: pairs with the driver's fence between enabling interrupts and looking at the next used descriptor again.
        Interlocked.MemoryBarrier();
        var old = _consideredUsed;
        _consideredUsed = _nextUsed;
        if (_isFirstNotification)
        {
            _isFirstNotification = false;
            return true;
        }

        // One read of both fields, so that they belong together.
        var driverEvent = Volatile.Read(ref *(uint*)_driverEvent);
        var mode = (ushort)(driverEvent >> 16) & 3;
        if (mode != RingLayout.EventAtDescriptor || !_hasEventIndex)
        {
            return mode != RingLayout.EventDisable;
        }

        var offset = (int)(driverEvent & ~(uint)WrapBit & 0xffff);
        if (((driverEvent & WrapBit) != 0) != _usedWrap)
        {
            offset -= _size;
        }

        if (_nextUsed <= old)
        {
            old -= _size;
        }

        return RingLayout.IsEventPassed((ushort)offset, (ushort)_nextUsed, (ushort)old);
    }

    /// <inheritdoc/>
    public readonly bool TryArm()
    {
        if (_hasEventIndex)
        {
            Volatile.Write(ref *(ushort*)_deviceEvent, (ushort)(_nextAvailable | (_availableWrap ? WrapBit : 0)));
            Volatile.Write(ref *(ushort*)(_deviceEvent + 2), RingLayout.EventAtDescriptor);
        }
        else
        {
            Volatile.Write(ref *(ushort*)(_deviceEvent + 2), RingLayout.EventEnable);
        }

        // Full fence: pairs with the driver's fence between making descriptors available and reading this event structure.
        Interlocked.MemoryBarrier();
        var flags = Volatile.Read(ref *(ushort*)(_descriptors + (_nextAvailable * RingLayout.DescriptorBytes) + 14));
        if (!IsAvailable(flags, _availableWrap))
        {
            return true;
        }

        Disarm();
        return false;
    }

    /// <inheritdoc/>
    public readonly void Disarm() => Volatile.Write(ref *(ushort*)(_deviceEvent + 2), RingLayout.EventDisable);

    /// <inheritdoc/>
    public void Move(VirtqueueAddresses addresses)
    {
        _descriptors = (byte*)addresses.Descriptors;
        _driverEvent = (byte*)addresses.Driver;
        _deviceEvent = (byte*)addresses.Device;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsAvailable(ushort flags, bool wrap)
    {
        var isAvailable = (flags & RingLayout.FlagAvailable) != 0;
        var isUsed = (flags & RingLayout.FlagUsed) != 0;
        return isAvailable == wrap && isUsed != wrap;
    }

    private readonly ChainFault TakeTable(ref ChainParser parser, ulong guestAddress, uint lengthBytes, ushort flags)
    {
        if (!_hasIndirect)
        {
            return ChainFault.IndirectNotNegotiated;
        }

        if ((flags & RingLayout.FlagNext) != 0)
        {
            return ChainFault.IndirectWithNext;
        }

        var fault = parser.TryOpenTable(guestAddress, lengthBytes, _maxTableEntries, out var table, out var count);
        if (fault != ChainFault.None)
        {
            return fault;
        }

        // Section 2.8.7: the entries follow each other; only the write flag has a meaning in them.
        for (var i = 0; i < count; i++)
        {
            var descriptor = table + (i * RingLayout.DescriptorBytes);
            var address = Volatile.Read(ref *(ulong*)descriptor);
            var entryBytes = Volatile.Read(ref *(uint*)(descriptor + 8));
            var entryFlags = Volatile.Read(ref *(ushort*)(descriptor + 14));
            if ((entryFlags & RingLayout.FlagIndirect) != 0)
            {
                return ChainFault.NestedIndirect;
            }

            parser.Append(address, entryBytes, (entryFlags & RingLayout.FlagWrite) != 0);
        }

        return ChainFault.None;
    }
}
