using System.Runtime.CompilerServices;
using Vhost.Abstractions;

namespace Vhost.Virtio;

/// <summary>
/// Collects the descriptors of one chain into a request: translates and checks each, and splits what crosses regions. A queue has one;
/// the reactor's thread only.
/// </summary>
internal unsafe struct ChainParser
{
    private GuestAddressSpace _space;
    private RequestPool _pool;
    private GuestRegion _recent;
    private VirtioRequest* _request;
    private IoSegment* _segments;
    private int _count;
    private int _capacity;
    private int _readableCount;
    private ulong _bytes;
    private ulong _readableBytes;
    private bool _inWritable;
    private ChainFault _fault;

    /// <summary>Sets a parser up.</summary>
    /// <param name="pool">Gives storage.</param>
    /// <param name="space">The guest's memory.</param>
    public ChainParser(RequestPool pool, GuestAddressSpace space)
    {
        _pool = pool;
        _space = space;
    }

    /// <summary>Whether the pool ran out of storage: the chain is to be parsed again later.</summary>
    public bool IsOutOfStorage { get; private set; }

    /// <summary>Uses another memory map from now on.</summary>
    /// <param name="space">The guest's memory.</param>
    public void SetSpace(GuestAddressSpace space)
    {
        _space = space;
        _recent = default;
    }

    /// <summary>Begins a chain.</summary>
    /// <param name="request">A free slot.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Begin(VirtioRequest* request)
    {
        _request = request;
        _segments = RequestPool.InlineSegmentsOf(request);
        _count = 0;
        _capacity = VirtioRequest.InlineSegments;
        _bytes = 0;
        _inWritable = false;
        _fault = ChainFault.None;
    }

    /// <summary>Adds a descriptor.</summary>
    /// <param name="guestAddress">Its address field.</param>
    /// <param name="lengthBytes">Its length field.</param>
    /// <param name="isWritable">Whether the device may write it.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Append(ulong guestAddress, uint lengthBytes, bool isWritable)
    {
        if (isWritable && !_inWritable)
        {
            _inWritable = true;
            _readableCount = _count;
            _readableBytes = _bytes;
            _bytes = 0;
        }

        // An address below the region wraps to a huge offset; a length of 0 wraps to a huge one and goes the slow way.
        var offset = guestAddress - _recent.GuestAddress;
        if (offset < _recent.LengthBytes
            && (ulong)lengthBytes - 1 < _recent.LengthBytes - offset
            && isWritable == _inWritable
            && (!isWritable || _recent.IsWritable)
            && _count < _capacity)
        {
            _segments[_count++] = new IoSegment(_recent.HostAddress + offset, lengthBytes);
            _bytes += lengthBytes;
            return;
        }

        AppendSlowly(guestAddress, lengthBytes, isWritable);
    }

    /// <summary>Ends a chain: fills the request in.</summary>
    /// <returns>The first fault that does not leave the chain's extent unknown, or none.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ChainFault Finish()
    {
        if (!_inWritable)
        {
            _readableCount = _count;
            _readableBytes = _bytes;
            _bytes = 0;
        }

        var request = _request;
        request->Readable = _segments;
        request->Writable = _segments + _readableCount;
        request->ReadableCount = _readableCount;
        request->WritableCount = _count - _readableCount;
        request->ReadableBytes = _readableBytes;
        request->WritableBytes = _bytes;
        if (_count == 0 && _fault == ChainFault.None)
        {
            _fault = ChainFault.EmptyChain;
        }

        request->InvalidReason = _fault;
        return _fault;
    }

    /// <summary>Drops the chain, so that its slot can be used for the next one.</summary>
    public void Abandon()
    {
        if (_request->Overflow != null)
        {
            _pool.ReturnOverflow(_request);
        }

        IsOutOfStorage = false;
    }

    /// <summary>Finds the table of an indirect descriptor.</summary>
    /// <param name="guestAddress">Its guest address.</param>
    /// <param name="lengthBytes">Its length.</param>
    /// <param name="maxEntries">The longest chain that is accepted.</param>
    /// <param name="table">Where it is in this process.</param>
    /// <param name="entryCount">How many descriptors it has.</param>
    /// <returns>A fault, or none.</returns>
    public ChainFault TryOpenTable(ulong guestAddress, uint lengthBytes, int maxEntries, out byte* table, out int entryCount)
    {
        table = null;
        entryCount = 0;
        if (lengthBytes == 0 || lengthBytes % RingLayout.DescriptorBytes != 0 || lengthBytes / RingLayout.DescriptorBytes > (uint)maxEntries)
        {
            return ChainFault.IndirectLength;
        }

        entryCount = (int)(lengthBytes / RingLayout.DescriptorBytes);
        var offset = guestAddress - _recent.GuestAddress;
        if (offset < _recent.LengthBytes && lengthBytes <= _recent.LengthBytes - offset)
        {
            table = _recent.HostAddress + offset;
            return ChainFault.None;
        }

        return _space.TryTranslate(guestAddress, lengthBytes, isWrite: false, out table) ? ChainFault.None : ChainFault.IndirectAddress;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void AppendSlowly(ulong guestAddress, uint lengthBytes, bool isWritable)
    {
        if (lengthBytes == 0)
        {
            SetFault(ChainFault.ZeroLength);
            return;
        }

        if (!isWritable && _inWritable)
        {
            // The piece stays among the writable ones, without an address.
            SetFault(ChainFault.ReadableAfterWritable);
            AppendPiece(null, lengthBytes);
            return;
        }

        ulong left = lengthBytes;
        while (left != 0)
        {
            var region = _space.Find(guestAddress);
            if (region == null)
            {
                SetFault(ChainFault.AddressOutOfRange);
                AppendPiece(null, left);
                return;
            }

            if (isWritable && !region->IsWritable)
            {
                SetFault(ChainFault.MemoryNotWritable);
                AppendPiece(null, left);
                return;
            }

            _recent = *region;
            var offset = guestAddress - region->GuestAddress;
            var piece = Math.Min(left, region->LengthBytes - offset);
            if (!AppendPiece(region->HostAddress + offset, piece))
            {
                return;
            }

            left -= piece;
            // A region never wraps, so only its very end can: then there is nothing at address 0 that continues it.
            if (left != 0 && guestAddress + piece < guestAddress)
            {
                SetFault(ChainFault.AddressOutOfRange);
                AppendPiece(null, left);
                return;
            }

            guestAddress += piece;
        }
    }

    private bool AppendPiece(byte* address, ulong lengthBytes)
    {
        if (_count == _capacity)
        {
            if (_request->OverflowClass == SegmentPool.LastClass)
            {
                SetFault(ChainFault.TooManySegments);
                // The last piece stands for what no longer fits, so that nobody takes it for the end of the chain.
                _segments[_count - 1] = new IoSegment(null, 1);
                return false;
            }

            var larger = _pool.Grow(_request, _count);
            if (larger == null)
            {
                IsOutOfStorage = true;
                _segments[_count - 1] = new IoSegment(null, 1);
                return false;
            }

            _segments = larger;
            _capacity = SegmentPool.CapacityOf(_request->OverflowClass);
        }

        _segments[_count++] = new IoSegment(address, (nuint)lengthBytes);
        _bytes += lengthBytes;
        return true;
    }

    private void SetFault(ChainFault fault)
    {
        if (_fault == ChainFault.None)
        {
            _fault = fault;
        }
    }
}
