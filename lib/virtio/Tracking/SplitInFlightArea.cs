using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>The in-flight area of a split queue: an entry for each descriptor, used for heads.</summary>
// SAFETY: the area was checked to be long enough for the queue size; every index read from it is compared with that.
internal sealed unsafe class SplitInFlightArea : InFlightArea
{
    public const int HeaderBytes = 16;
    public const int EntryBytes = 16;

    private const int VersionOffset = 8;
    private const int SizeOffset = 10;
    private const int LastBatchHeadOffset = 12;
    private const int UsedIndexOffset = 14;
    private const int EntryNextOffset = 6;
    private const int EntryCounterOffset = 8;

    private byte* _used;

    public SplitInFlightArea(VirtqueueSetup setup)
        : base(setup) => Move(setup.Addresses);

    public override VirtqueueState Recover(VirtqueueState state, out string? fault)
    {
        fault = null;
        if (Field(VersionOffset) == 0)
        {
            Field(SizeOffset) = (ushort)_size;
            Field(UsedIndexOffset) = state.NextUsed;
            Volatile.Write(ref Field(VersionOffset), Version);
            return state;
        }

        if (Field(VersionOffset) != Version || Field(SizeOffset) != _size)
        {
            fault = $"the in-flight area has version {Field(VersionOffset)} and {Field(SizeOffset)} entries, not {Version} and {_size}";
            return state;
        }

        var usedIndex = Volatile.Read(ref *(ushort*)(_used + 2));
        var lastBatch = (ushort)(usedIndex - Field(UsedIndexOffset));
        var entry = Field(LastBatchHeadOffset);
        for (var i = 0; i < lastBatch; i++)
        {
            if (entry >= _size || i == _size)
            {
                fault = "the in-flight area's last batch makes no sense";
                return state;
            }

            *Entry(entry) = 0;
            entry = *(ushort*)(Entry(entry) + EntryNextOffset);
        }

        Field(UsedIndexOffset) = usedIndex;
        var found = new List<(ulong Counter, ushort Entry)>();
        for (var i = 0; i < _size; i++)
        {
            if (*Entry(i) == 1)
            {
                found.Add((*(ulong*)(Entry(i) + EntryCounterOffset), (ushort)i));
            }
        }

        SetPending(found);
        return new VirtqueueState((ushort)(usedIndex + found.Count), usedIndex);
    }

    public override int CopyDescriptors(ushort entry, byte* descriptors) => 0;

    public override void OnTaken(VirtioRequest* request, VirtqueueState ring)
    {
        var entry = Entry(request->Id);
        *(ulong*)(entry + EntryCounterOffset) = _counter++;
        // Release: a reader after a crash sees the counter with the mark.
        Volatile.Write(ref *entry, (byte)1);
    }

    public override void OnPublishing(VirtioRequest** completed, int count, VirtqueueState ring)
    {
        for (var i = 0; i < count; i++)
        {
            var id = completed[i]->Id;
            *(ushort*)(Entry(id) + EntryNextOffset) = Field(LastBatchHeadOffset);
            Volatile.Write(ref Field(LastBatchHeadOffset), id);
        }
    }

    public override void OnPublished(VirtioRequest** completed, int count, VirtqueueState ring)
    {
        for (var i = 0; i < count; i++)
        {
            Volatile.Write(ref *Entry(completed[i]->Id), (byte)0);
        }

        Volatile.Write(ref Field(UsedIndexOffset), ring.NextUsed);
    }

    public override void Move(VirtqueueAddresses addresses) => _used = (byte*)addresses.Device;

    private byte* Entry(int index) => _area + HeaderBytes + (index * EntryBytes);
}
