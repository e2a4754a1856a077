using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>The in-flight area of a packed queue: copies of the descriptors, since the ring's own are overwritten by used ones.</summary>
// SAFETY: the area was checked to be long enough for the queue size; every index read from it is compared with that.
internal sealed unsafe class PackedInFlightArea : InFlightArea
{
    public const int HeaderBytes = 32;
    public const int EntryBytes = 32;

    private const ushort WrapBit = 1 << 15;
    private const int VersionOffset = 8;
    private const int SizeOffset = 10;
    private const int FreeHeadOffset = 12;
    private const int OldFreeHeadOffset = 14;
    private const int UsedIndexOffset = 16;
    private const int OldUsedIndexOffset = 18;
    private const int UsedWrapOffset = 20;
    private const int OldUsedWrapOffset = 21;
    private const int EntryNextOffset = 2;
    private const int EntryLastOffset = 4;
    private const int EntryCountOffset = 6;
    private const int EntryCounterOffset = 8;
    private const int EntryIdOffset = 16;
    private const int EntryFlagsOffset = 18;
    private const int EntryLengthOffset = 20;
    private const int EntryAddressOffset = 24;

    private byte* _ring;

    public PackedInFlightArea(VirtqueueSetup setup)
        : base(setup) => Move(setup.Addresses);

    public override VirtqueueState Recover(VirtqueueState state, out string? fault)
    {
        fault = null;
        if (Field(VersionOffset) == 0)
        {
            Initialise(state);
            return state;
        }

        if (Field(VersionOffset) != Version || Field(SizeOffset) != _size
            || Field(UsedIndexOffset) >= _size || Field(OldUsedIndexOffset) >= _size)
        {
            fault = $"the in-flight area has version {Field(VersionOffset)} and {Field(SizeOffset)} entries, not {Version} and {_size}, or stands beyond its end";
            return state;
        }

        SettleLastBatch();
        ClearFreeList();
        var found = new List<(ulong Counter, ushort Entry)>();
        var total = 0;
        for (var i = 0; i < _size; i++)
        {
            if (*Entry(i) == 1)
            {
                found.Add((*(ulong*)(Entry(i) + EntryCounterOffset), (ushort)i));
                total += Read(i, EntryCountOffset);
            }
        }

        if (total > _size || found.Exists(item => !IsListSound(item.Entry)))
        {
            fault = "the in-flight area holds more descriptors than the queue, or a list that does not end";
            return state;
        }

        SetPending(found);
        int used = Field(UsedIndexOffset);
        var wrap = _area[UsedWrapOffset] != 0;
        var available = used + total;
        return new VirtqueueState(
            (ushort)(available >= _size ? (available - _size) | (wrap ? 0 : WrapBit) : available | (wrap ? WrapBit : 0)),
            (ushort)(used | (wrap ? WrapBit : 0)));
    }

    public override int CopyDescriptors(ushort entry, byte* descriptors)
    {
        int count = Read(entry, EntryCountOffset);
        for (var i = 0; i < count; i++)
        {
            *(ulong*)descriptors = *(ulong*)(Entry(entry) + EntryAddressOffset);
            *(uint*)(descriptors + 8) = *(uint*)(Entry(entry) + EntryLengthOffset);
            *(ushort*)(descriptors + 12) = Read(entry, EntryIdOffset);
            *(ushort*)(descriptors + 14) = Read(entry, EntryFlagsOffset);
            descriptors += RingLayout.DescriptorBytes;
            entry = Read(entry, EntryNextOffset);
        }

        return count;
    }

    public override void OnTaken(VirtioRequest* request, VirtqueueState ring)
    {
        var head = Field(OldFreeHeadOffset);
        int count = request->RingEntryCount;
        var position = (ring.NextAvailable & ~WrapBit) - count;
        position = position < 0 ? position + _size : position;
        request->TrackingIndex = head;
        *(ushort*)(Entry(head) + EntryCountOffset) = 0;
        *(ulong*)(Entry(head) + EntryCounterOffset) = _counter++;
        var entry = head;
        for (var i = 0; i < count; i++)
        {
            // Read again from the ring: if the driver changed it, it has changed its own request, which is checked again when it is resubmitted.
            var descriptor = _ring + (position * RingLayout.DescriptorBytes);
            *(ulong*)(Entry(entry) + EntryAddressOffset) = *(ulong*)descriptor;
            *(uint*)(Entry(entry) + EntryLengthOffset) = *(uint*)(descriptor + 8);
            *(ushort*)(Entry(entry) + EntryIdOffset) = i == count - 1 ? request->Id : *(ushort*)(descriptor + 12);
            *(ushort*)(Entry(entry) + EntryFlagsOffset) = *(ushort*)(descriptor + 14);
            *(ushort*)(Entry(head) + EntryLastOffset) = entry;
            entry = Math.Min(Read(entry, EntryNextOffset), (ushort)_size);
            if (entry == _size && i != count - 1)
            {
                // The list was tampered with: what cannot be tracked is left out rather than written elsewhere.
                break;
            }

            position = position + 1 == _size ? 0 : position + 1;
        }

        *(ushort*)(Entry(head) + EntryCountOffset) = (ushort)count;
        Volatile.Write(ref *Entry(head), (byte)1);
        Volatile.Write(ref Field(FreeHeadOffset), entry);
        Volatile.Write(ref Field(OldFreeHeadOffset), entry);
    }

    public override void OnPublishing(VirtioRequest** completed, int count, VirtqueueState ring)
    {
        for (var i = 0; i < count; i++)
        {
            var entry = completed[i]->TrackingIndex;
            var last = Math.Min(Read(entry, EntryLastOffset), (ushort)_size);
            *(ushort*)(Entry(last) + EntryNextOffset) = Field(FreeHeadOffset);
            Volatile.Write(ref Field(FreeHeadOffset), entry);
        }

        Volatile.Write(ref Field(UsedIndexOffset), (ushort)(ring.NextUsed & ~WrapBit));
        Volatile.Write(ref _area[UsedWrapOffset], (ring.NextUsed & WrapBit) != 0 ? (byte)1 : (byte)0);
    }

    public override void OnPublished(VirtioRequest** completed, int count, VirtqueueState ring)
    {
        for (var i = 0; i < count; i++)
        {
            Volatile.Write(ref *Entry(completed[i]->TrackingIndex), (byte)0);
        }

        Volatile.Write(ref Field(OldFreeHeadOffset), Field(FreeHeadOffset));
        Volatile.Write(ref Field(OldUsedIndexOffset), Field(UsedIndexOffset));
        Volatile.Write(ref _area[OldUsedWrapOffset], _area[UsedWrapOffset]);
    }

    public override void Move(VirtqueueAddresses addresses) => _ring = (byte*)addresses.Descriptors;

    private void Initialise(VirtqueueState state)
    {
        for (var i = 0; i < _size; i++)
        {
            *(ushort*)(Entry(i) + EntryNextOffset) = (ushort)(i + 1);
        }

        Field(SizeOffset) = (ushort)_size;
        Field(UsedIndexOffset) = (ushort)(state.NextUsed & ~WrapBit);
        Field(OldUsedIndexOffset) = (ushort)(state.NextUsed & ~WrapBit);
        _area[UsedWrapOffset] = (state.NextUsed & WrapBit) != 0 ? (byte)1 : (byte)0;
        _area[OldUsedWrapOffset] = _area[UsedWrapOffset];
        Volatile.Write(ref Field(VersionOffset), Version);
    }

    private void SettleLastBatch()
    {
        // A batch as long as the ring ends at the index where it began, in the next round.
        if (Field(UsedIndexOffset) != Field(OldUsedIndexOffset) || _area[UsedWrapOffset] != _area[OldUsedWrapOffset])
        {
            var flags = Volatile.Read(ref *(ushort*)(_ring + (Field(OldUsedIndexOffset) * RingLayout.DescriptorBytes) + 14));
            var available = _area[OldUsedWrapOffset] != 0 ? RingLayout.FlagAvailable : RingLayout.FlagUsed;
            if ((flags & (RingLayout.FlagAvailable | RingLayout.FlagUsed)) != available)
            {
                // The batch reached the driver before the crash.
                Field(OldFreeHeadOffset) = Field(FreeHeadOffset);
                Field(OldUsedIndexOffset) = Field(UsedIndexOffset);
                _area[OldUsedWrapOffset] = _area[UsedWrapOffset];
            }
        }

        Field(FreeHeadOffset) = Field(OldFreeHeadOffset);
        Field(UsedIndexOffset) = Field(OldUsedIndexOffset);
        _area[UsedWrapOffset] = _area[OldUsedWrapOffset];
    }

    private void ClearFreeList()
    {
        var entry = Field(FreeHeadOffset);
        for (var i = 0; i < _size && entry < _size; i++)
        {
            *Entry(entry) = 0;
            entry = Read(entry, EntryNextOffset);
        }
    }

    private bool IsListSound(ushort entry)
    {
        int count = Read(entry, EntryCountOffset);
        for (var i = 0; i < count; i++)
        {
            if (entry >= _size)
            {
                return false;
            }

            entry = Read(entry, EntryNextOffset);
        }

        return count != 0;
    }

    private ushort Read(int entry, int offsetBytes) => *(ushort*)(Entry(entry) + offsetBytes);

    /// <summary>An entry; an index beyond the end gives the last one, so that nothing outside the area is touched.</summary>
    private byte* Entry(int index) => _area + HeaderBytes + (Math.Min(index, _size - 1) * EntryBytes);
}
