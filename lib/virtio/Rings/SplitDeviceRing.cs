using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>The device's side of a split virtqueue (virtio 1.3, section 2.7).</summary>
// SAFETY: the ring's three areas are mapped and lie wholly within guest memory, as the transport checked, for as long as the queue runs;
// every index that comes from the driver is masked or compared with the queue size before it becomes an offset.
internal unsafe struct SplitDeviceRing : IDeviceRing
{
    private readonly int _size;
    private readonly ushort _mask;
    private readonly int _maxTableEntries;
    private readonly bool _hasEventIndex;
    private readonly bool _hasIndirect;
    private byte* _descriptors;
    private byte* _available;
    private byte* _used;
    private ushort _nextAvailable;
    private ushort _availableLimit;
    private ushort _nextUsed;
    private ushort _consideredUsed;
    private ushort _lastHead;
    private bool _isFirstNotification;

    /// <summary>Sets the ring up.</summary>
    /// <param name="setup">Where it lies and where to continue.</param>
    /// <param name="features">What was negotiated.</param>
    public SplitDeviceRing(VirtqueueSetup setup, ulong features)
    {
        _size = setup.Size;
        _mask = (ushort)(setup.Size - 1);
        _maxTableEntries = Math.Max(setup.Size, Virtqueue.MinTableLimit);
        _hasEventIndex = (features & VirtioFeatures.EventIndex) != 0;
        _hasIndirect = (features & VirtioFeatures.IndirectDescriptors) != 0;
        _nextAvailable = setup.State.NextAvailable;
        _nextUsed = setup.State.NextUsed;
        _consideredUsed = _nextUsed;
        _isFirstNotification = true;
        Move(setup.Addresses);
    }

    /// <inheritdoc/>
    public readonly VirtqueueState State => new(_nextAvailable, _nextUsed);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int BeginTake(out ChainFault fault)
    {
        fault = ChainFault.None;
        // Acquire: pairs with the driver's release of the available index; the entries and descriptors before it are visible after it.
        _availableLimit = Volatile.Read(ref *(ushort*)(_available + 2));
        var count = (ushort)(_availableLimit - _nextAvailable);
        if (count > _size)
        {
            fault = ChainFault.AvailableIndexPastRing;
            return 0;
        }

        return count;
    }

    /// <inheritdoc/>
    // SAFETY: a prefetch of any address does nothing worse than nothing; the entries are read again when they count.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Prefetch(int count)
    {
        if (!Sse.IsSupported)
        {
            return;
        }

        for (var i = 0; i < count; i++)
        {
            var index = *(ushort*)(_available + 4 + (2 * ((_nextAvailable + i) & _mask)));
            Sse.Prefetch0(_descriptors + (index * RingLayout.DescriptorBytes));
        }
    }

    /// <inheritdoc/>
    // Two lines: a chain of three entries crosses from one into the next half of the time.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void PrefetchAgain()
    {
        if (Sse.IsSupported)
        {
            Sse.Prefetch0(_descriptors + (_lastHead * RingLayout.DescriptorBytes));
            Sse.Prefetch0(_descriptors + (_lastHead * RingLayout.DescriptorBytes) + (2 * RingLayout.DescriptorBytes));
        }
    }

    /// <inheritdoc/>
    public readonly byte* NextUsedLine => _used + 4 + (8 * (_nextUsed & _mask));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void PrefetchNext(int limit)
    {
        var count = (ushort)(Volatile.Read(ref *(ushort*)(_available + 2)) - _nextAvailable);
        Prefetch(Math.Min(count, limit));
    }

    /// <inheritdoc/>
    public PopResult TryTake(ref ChainParser parser, VirtioRequest* request, out ChainFault fault)
    {
        fault = ChainFault.None;
        if (_nextAvailable == _availableLimit)
        {
            return PopResult.Empty;
        }

        var index = Volatile.Read(ref *(ushort*)(_available + 4 + (2 * (_nextAvailable & _mask))));
        if (index >= _size)
        {
            fault = ChainFault.HeadOutOfRange;
            return PopResult.Broken;
        }

        var result = TakeChain(ref parser, request, index, out fault);
        if (result == PopResult.Taken)
        {
            _lastHead = index;
            _nextAvailable++;
        }

        return result;
    }

    /// <inheritdoc/>
    public readonly PopResult TakeAgain(ref ChainParser parser, VirtioRequest* request, ushort entry, byte* descriptors, int count, out ChainFault fault) =>
        TakeChain(ref parser, request, entry, out fault);

    /// <inheritdoc/>
    public void Resume(VirtqueueState state, int entriesUnderWay)
    {
        _nextAvailable = state.NextAvailable;
        _availableLimit = state.NextAvailable;
        _nextUsed = state.NextUsed;
        _consideredUsed = state.NextUsed;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly PopResult TakeChain(ref ChainParser parser, VirtioRequest* request, ushort index, out ChainFault fault)
    {
        fault = ChainFault.None;
        parser.Begin(request);
        request->Id = index;
        var left = _size;
        while (true)
        {
            // Each descriptor is read once, as two words: the driver may change it at any time.
            var descriptor = _descriptors + (index * RingLayout.DescriptorBytes);
            var address = Volatile.Read(ref *(ulong*)descriptor);
            var rest = Volatile.Read(ref *(ulong*)(descriptor + 8));
            var flags = (ushort)(rest >> 32);
            if ((flags & RingLayout.FlagIndirect) != 0)
            {
                fault = TakeTable(ref parser, address, (uint)rest, flags);
                if (fault != ChainFault.None)
                {
                    parser.Abandon();
                    return PopResult.Broken;
                }

                break;
            }

            parser.Append(address, (uint)rest, (flags & RingLayout.FlagWrite) != 0);
            if ((flags & RingLayout.FlagNext) == 0)
            {
                break;
            }

            index = (ushort)(rest >> 48);
            if (index >= _size || --left == 0)
            {
                fault = index >= _size ? ChainFault.NextOutOfRange : ChainFault.DescriptorLoop;
                parser.Abandon();
                return PopResult.Broken;
            }
        }

        if (parser.IsOutOfStorage)
        {
            parser.Abandon();
            return PopResult.NoStorage;
        }

        parser.Finish();
        return PopResult.Taken;
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void PushUsed(VirtioRequest* request)
    {
        *(ulong*)(_used + 4 + (8 * (_nextUsed & _mask))) = request->Id | ((ulong)request->WrittenBytes << 32);
        _nextUsed++;
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    // Release: pairs with the driver's acquire of the used index; the data and the used elements are visible before it.
    public readonly void Publish() => Volatile.Write(ref *(ushort*)(_used + 2), _nextUsed);

    /// <inheritdoc/>
    public bool ShouldNotify()
    {
        // Full fence: pairs with the driver's fence between enabling interrupts (used_event or flags) and looking at the used index again.
        Interlocked.MemoryBarrier();
        var old = _consideredUsed;
        _consideredUsed = _nextUsed;
        if (_isFirstNotification)
        {
            // Where the driver stood when an earlier device stopped is unknown: one interrupt too many does no harm.
            _isFirstNotification = false;
            return true;
        }

        if (_hasEventIndex)
        {
            var usedEvent = Volatile.Read(ref *(ushort*)(_available + 4 + (2 * _size)));
            return RingLayout.IsEventPassed(usedEvent, _nextUsed, old);
        }

        return (Volatile.Read(ref *(ushort*)_available) & RingLayout.FlagSuppress) == 0;
    }

    /// <inheritdoc/>
    public bool TryArm()
    {
        if (_hasEventIndex)
        {
            Volatile.Write(ref *(ushort*)(_used + 4 + (8 * _size)), _nextAvailable);
        }
        else
        {
            Volatile.Write(ref *(ushort*)_used, (ushort)0);
        }

        // Full fence: pairs with the driver's fence between publishing the available index and reading avail_event or the flags.
        Interlocked.MemoryBarrier();
        if (Volatile.Read(ref *(ushort*)(_available + 2)) == _nextAvailable)
        {
            return true;
        }

        Disarm();
        return false;
    }

    /// <inheritdoc/>
    public readonly void Disarm()
    {
        // With event indexes a stale avail_event does it: it costs one needless kick in 65536 requests.
        if (!_hasEventIndex)
        {
            Volatile.Write(ref *(ushort*)_used, RingLayout.FlagSuppress);
        }
    }

    /// <inheritdoc/>
    public void Move(VirtqueueAddresses addresses)
    {
        _descriptors = (byte*)addresses.Descriptors;
        _available = (byte*)addresses.Driver;
        _used = (byte*)addresses.Device;
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

        uint index = 0;
        var left = count;
        while (true)
        {
            var descriptor = table + (index * RingLayout.DescriptorBytes);
            var address = Volatile.Read(ref *(ulong*)descriptor);
            var rest = Volatile.Read(ref *(ulong*)(descriptor + 8));
            var entryFlags = (ushort)(rest >> 32);
            if ((entryFlags & RingLayout.FlagIndirect) != 0)
            {
                return ChainFault.NestedIndirect;
            }

            parser.Append(address, (uint)rest, (entryFlags & RingLayout.FlagWrite) != 0);
            if ((entryFlags & RingLayout.FlagNext) == 0)
            {
                return ChainFault.None;
            }

            index = (ushort)(rest >> 48);
            if (index >= (uint)count)
            {
                return ChainFault.NextOutOfRange;
            }

            if (--left == 0)
            {
                return ChainFault.DescriptorLoop;
            }
        }
    }
}
