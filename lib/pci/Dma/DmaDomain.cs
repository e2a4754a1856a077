using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Linux;
using Vhost.VfioUser;

namespace Vhost.Pci.Dma;

/// <summary>What a domain did to make memory reachable: the ranges that result, and how to undo it.</summary>
internal sealed record DmaAttachment(IReadOnlyList<DmaRange> Ranges, Action Detach);

/// <summary>Common to all domains: the table, the guests' memory with its count of users, allocations, counters.</summary>
internal abstract partial class DmaDomain(ILogger logger) : IDmaDomain
{
    private readonly Lock _lock = new();
    private readonly DmaTable _table = new();
    private readonly DmaTable _withoutCopiedBars = new();
    private readonly Dictionary<IMemoryRegistry, Following> _followed = [];
    private readonly Dictionary<(nint, ulong), GuestRegion> _guestRegions = [];
    private ulong _allocatedBytes;
    private long _bouncedTransfers;
    private long _bouncedBytes;

    public abstract bool IsPhysical { get; }

    public DmaStatistics Statistics
    {
        get
        {
            lock (_lock)
            {
                ulong bytes = 0;
                int mapped = 0;
                int unmapped = 0;
                foreach (GuestRegion region in _guestRegions.Values)
                {
                    if (region.Attachment is { Ranges.Count: > 0 } attachment)
                    {
                        mapped++;
                        bytes += attachment.Ranges.Aggregate(0UL, (sum, r) => sum + r.Length);
                    }
                    else
                    {
                        unmapped++;
                    }
                }

                return new DmaStatistics(bytes, mapped, unmapped, _allocatedBytes, Volatile.Read(ref _bouncedTransfers), Volatile.Read(ref _bouncedBytes));
            }
        }
    }

    public IDmaDomain WithoutCopiedBars => new View(this);

    protected ILogger Logger { get; } = logger;

    public bool TryTranslate(nint address, nuint lengthBytes, out ulong iova, out nuint contiguousBytes) =>
        _table.TryTranslate((nuint)address, lengthBytes, out iova, out contiguousBytes);

    public void CountBounce(nuint lengthBytes)
    {
        Interlocked.Increment(ref _bouncedTransfers);
        Interlocked.Add(ref _bouncedBytes, (long)lengthBytes);
    }

    public DmaMemory Allocate(nuint lengthBytes, bool isContiguous)
    {
        ArgumentOutOfRangeException.ThrowIfZero(lengthBytes);
        lock (_lock)
        {
            DomainMemory memory;
            try
            {
                memory = AllocateCore(checked(lengthBytes + MemoryMapping.PageSize - 1) & ~(MemoryMapping.PageSize - 1), isContiguous);
            }
            catch (Exception e) when (e is LinuxException or VfioUserException)
            {
                throw new PciException($"{lengthBytes} bytes of memory for devices cannot be had: {e.Message}", e);
            }

            _table.Add(memory.Ranges);
            _withoutCopiedBars.Add(memory.Ranges);
            _allocatedBytes += memory.LengthBytes;
            return memory;
        }
    }

    public IDisposable Follow(IMemoryRegistry registry)
    {
        // The registry calls back under its own lock, so the subscription is made outside of ours.
        Following following;
        lock (_lock)
        {
            if (_followed.TryGetValue(registry, out Following? present))
            {
                present.Users++;
                return new Unfollow(this, present);
            }

            following = new Following(this, registry) { Users = 1 };
            _followed.Add(registry, following);
        }

        following.Subscription = registry.Subscribe(following);
        return new Unfollow(this, following);
    }

    /// <summary>Makes a region of guest memory reachable; throws where that is impossible.</summary>
    protected abstract DmaAttachment Attach(MemoryRegion region);

    /// <summary>Allocates; the length is a multiple of the page size.</summary>
    protected abstract DomainMemory AllocateCore(nuint lengthBytes, bool isContiguous);

    /// <summary>The part of a region that is made of whole pages.</summary>
    protected static (nuint Address, nuint Length) WholePages(MemoryRegion region, ulong pageBytes)
    {
        nuint page = (nuint)pageBytes;
        nuint start = ((nuint)region.HostAddress + page - 1) & ~(page - 1);
        nuint end = ((nuint)region.HostAddress + (nuint)region.LengthBytes) & ~(page - 1);
        return end > start
            ? (start, end - start)
            : throw new PciException($"the {region.LengthBytes} bytes at guest address 0x{region.GuestAddress:x} hold no whole page of {pageBytes} bytes");
    }

    private void Add(MemoryRegion region)
    {
        lock (_lock)
        {
            (nint, ulong) key = (region.HostAddress, region.LengthBytes);
            if (_guestRegions.TryGetValue(key, out GuestRegion? present))
            {
                present.Users++;
                return;
            }

            var added = new GuestRegion { Users = 1 };
            _guestRegions.Add(key, added);
            try
            {
                added.Attachment = region.Backing.Kind == MemoryBackingKind.Unreachable
                    ? throw new PciException("its transport forbids devices to reach this memory")
                    : Attach(region);
                _table.Add(added.Attachment.Ranges);
                if (region.Backing.Kind == MemoryBackingKind.CopiedBar)
                {
                    LogBarCopied(Logger, region.LengthBytes, region.GuestAddress, region.Backing.DeviceAddress);
                }
                else
                {
                    _withoutCopiedBars.Add(added.Attachment.Ranges);
                }
            }
            catch (Exception e) when (e is IOException)
            {
                LogMemoryBounced(Logger, region.LengthBytes, region.GuestAddress, e.Message);
            }
        }
    }

    private void Remove(nint address, ulong length)
    {
        lock (_lock)
        {
            if (!_guestRegions.TryGetValue((address, length), out GuestRegion? region) || --region.Users > 0)
            {
                return;
            }

            _guestRegions.Remove((address, length));
            if (region.Attachment is { } attachment)
            {
                // Out of the table first: nobody translates to it any more when the device loses it.
                _table.Remove(attachment.Ranges);
                _withoutCopiedBars.Remove(attachment.Ranges);
                attachment.Detach();
            }
        }
    }

    private void Release(DomainMemory memory)
    {
        lock (_lock)
        {
            _table.Remove(memory.Ranges);
            _withoutCopiedBars.Remove(memory.Ranges);
            _allocatedBytes -= memory.LengthBytes;
        }
    }

    [LoggerMessage(EventId = 1408, Level = LogLevel.Warning, Message = "{Bytes} bytes of guest memory at 0x{GuestAddress:x} cannot be reached by the device and will be bounced: {Reason}")]
    private static partial void LogMemoryBounced(ILogger logger, ulong bytes, ulong guestAddress, string reason);

    [LoggerMessage(
        EventId = 1409, Level = LogLevel.Information,
        Message = "{Bytes} bytes of guest memory at 0x{GuestAddress:x} lie in a BAR of {Device} that emulated disks reach through copies: NVMe reads and writes there itself, for virtio-scsi the data is copied")]
    private static partial void LogBarCopied(ILogger logger, ulong bytes, ulong guestAddress, string? device);

    /// <summary>Memory of a domain; gives itself back when disposed.</summary>
    internal sealed class DomainMemory(DmaDomain domain, nuint address, nuint length, IReadOnlyList<DmaRange> ranges, Action free)
        : DmaMemory((nint)address, ranges[0].Iova, length)
    {
        private bool _freed;

        public IReadOnlyList<DmaRange> Ranges => ranges;

        protected override void Dispose(bool disposing)
        {
            if (!_freed)
            {
                _freed = true;
                domain.Release(this);
                free();
            }
        }
    }

    /// <summary>The domain as a device sees it that may map a buffer twice.</summary>
    private sealed class View(DmaDomain domain) : IDmaDomain
    {
        private readonly DmaTable _table = domain._withoutCopiedBars;

        public DmaStatistics Statistics => domain.Statistics;

        public bool IsPhysical => domain.IsPhysical;

        public DmaMemory Allocate(nuint lengthBytes, bool isContiguous) => domain.Allocate(lengthBytes, isContiguous);

        public IDisposable Follow(IMemoryRegistry registry) => domain.Follow(registry);

        public void CountBounce(nuint lengthBytes) => domain.CountBounce(lengthBytes);

        public bool TryTranslate(nint address, nuint lengthBytes, out ulong iova, out nuint contiguousBytes) =>
            _table.TryTranslate((nuint)address, lengthBytes, out iova, out contiguousBytes);
    }

    private sealed class GuestRegion
    {
        public int Users { get; set; }

        public DmaAttachment? Attachment { get; set; }
    }

    /// <summary>One registry that is followed, for as many devices as ask.</summary>
    private sealed class Following(DmaDomain domain, IMemoryRegistry registry) : IMemoryObserver
    {
        private readonly List<(nint Address, ulong Length)> _regions = [];

        public IMemoryRegistry Registry => registry;

        public int Users { get; set; }

        public IDisposable? Subscription { get; set; }

        public void OnRegionAdded(MemoryRegion region)
        {
            lock (_regions)
            {
                _regions.Add((region.HostAddress, region.LengthBytes));
            }

            domain.Add(region);
        }

        public void OnRegionRemoved(MemoryRegion region)
        {
            lock (_regions)
            {
                _regions.Remove((region.HostAddress, region.LengthBytes));
            }

            domain.Remove(region.HostAddress, region.LengthBytes);
        }

        public void End()
        {
            Subscription?.Dispose();
            (nint Address, ulong Length)[] left;
            lock (_regions)
            {
                left = [.. _regions];
                _regions.Clear();
            }

            foreach ((nint address, ulong length) in left)
            {
                domain.Remove(address, length);
            }
        }
    }

    private sealed class Unfollow(DmaDomain domain, Following following) : IDisposable
    {
        private bool _ended;

        public void Dispose()
        {
            lock (domain._lock)
            {
                if (_ended)
                {
                    return;
                }

                _ended = true;
                if (--following.Users > 0)
                {
                    return;
                }

                domain._followed.Remove(following.Registry);
            }

            following.End();
        }
    }
}
