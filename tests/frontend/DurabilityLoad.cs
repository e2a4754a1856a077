using System.Runtime.InteropServices;

namespace Vhost.Testing.FrontEnd;

/// <summary>What an acknowledgement promised: that so much of the disk survives a loss of power from then on.</summary>
/// <param name="Position">Where a recorder below stood when the acknowledgement had come.</param>
/// <param name="Generations">What each place holds at least; of a forced write, what its place holds.</param>
/// <param name="Place">The place of a forced write; -1 for all places.</param>
public sealed record DurabilityPromise(long Position, long[] Generations, int Place);

/// <summary>
/// A load of writes, forced writes and flushes, several at a time, that remembers what their acknowledgements promised. Each place of the disk has a block of
/// <see cref="BlockBytes"/>: its number, and its generation in all other words. One thread.
/// </summary>
/// <param name="device">The device.</param>
/// <param name="isScsi">Scsi, where single writes can be forced, or blk.</param>
/// <param name="isWriteThrough">Whether the device has no cache as far as the driver knows: each write is durable when it is done, and there are no flushes.</param>
/// <param name="places">Places of the disk that are used.</param>
/// <param name="random">Its choices.</param>
/// <param name="isForLogWrites">
/// Whether the kernel's dm-log-writes records below. It logs a write with the flush that came after it, when that flush is done, and a forced write of the block layer at once: with
/// several flushes under way, or forced and other writes of one place, an older write may be logged after a newer one. So every third place gets forced writes and the others
/// never do, and one flush or forced write is under way at a time.
/// </param>
public sealed class DurabilityLoad(FrontEndDevice device, bool isScsi, bool isWriteThrough, int places, Random random, bool isForLogWrites = false)
{
    /// <summary>Size of a place.</summary>
    public const int BlockBytes = 4096;

    private const int Depth = 12;
    private const byte ForceUnitAccessBit = 8;

    private readonly FrontEndQueue _queue = device.RequestQueue(0);
    private readonly BlockRequests _requests = isScsi ? new VirtioScsiRequests(device, Depth, BlockBytes) : new VirtioBlkRequests(device, Depth, BlockBytes);
    private readonly long[] _written = new long[places];
    private readonly long[] _acknowledged = new long[places];
    private readonly (bool IsFlush, bool IsForced, int Place, long[] Covers)[] _slots = new (bool, bool, int, long[])[Depth];
    private readonly HashSet<int> _busy = [];
    private int _syncs;

    /// <summary>Runs it; requests stay under way.</summary>
    /// <param name="count">How many requests are to come back.</param>
    /// <param name="position">Asks the recorder where it stands.</param>
    /// <returns>The promises, in the order in which they were made.</returns>
    /// <exception cref="FrontEndException">A request failed.</exception>
    public IReadOnlyList<DurabilityPromise> Run(int count, Func<long> position)
    {
        ArgumentNullException.ThrowIfNull(position);
        var promises = new List<DurabilityPromise>();
        for (var slot = 0; slot < Depth; slot++)
        {
            Submit(slot);
        }

        for (var done = 0; done < count; done++)
        {
            var slot = BlockRequests.Complete(_queue, 90_000);
            if (!_requests.IsSuccess(slot))
            {
                throw new FrontEndException($"a request failed: {_requests.DescribeResult(slot)}");
            }

            var (isFlush, isForced, place, covers) = _slots[slot];
            _syncs -= isFlush || isForced ? 1 : 0;
            if (isFlush)
            {
                promises.Add(new DurabilityPromise(position(), covers, -1));
            }
            else
            {
                _acknowledged[place] = _written[place];
                _busy.Remove(place);
                if (isForced || isWriteThrough)
                {
                    promises.Add(new DurabilityPromise(position(), [_written[place]], place));
                }
            }

            Submit(slot);
        }

        return promises;
    }

    private void Submit(int slot)
    {
        var choice = random.Next(100);
        if (choice < 8 && !isWriteThrough && !(isForLogWrites && _syncs > 0))
        {
            _syncs++;
            _slots[slot] = (true, false, 0, (long[])_acknowledged.Clone());
            Require(_requests.TryAddFlush(_queue.Ring, slot));
            return;
        }

        int place;
        do
        {
            place = random.Next(places);
        }
        while ((isForLogWrites && _syncs > 0 && IsForcedPlace(place)) || !_busy.Add(place));

        _written[place]++;
        var words = MemoryMarshal.Cast<byte, long>(_requests.Data(slot).Span[..BlockBytes]);
        words.Fill(_written[place]);
        words[0] = place;
        var isForced = isScsi && (isForLogWrites ? IsForcedPlace(place) : choice < 25);
        _syncs += isForced ? 1 : 0;
        if (_requests is VirtioScsiRequests scsi)
        {
            scsi.Cdb(slot)[1] = isForced ? ForceUnitAccessBit : (byte)0;
        }

        _slots[slot] = (false, isForced, place, []);
        Require(_requests.TryAdd(_queue.Ring, slot, isWrite: true, (ulong)place * (ulong)(BlockBytes / _requests.BlockSizeBytes), BlockBytes));
    }

    private static bool IsForcedPlace(int place) => place % 3 == 0;

    private static void Require(bool isAdded)
    {
        if (!isAdded)
        {
            throw new FrontEndException("the ring has no room");
        }
    }
}
