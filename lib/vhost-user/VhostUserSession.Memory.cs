using System.Collections.Immutable;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;

namespace Vhost.VhostUser;

/// <content>The guest's memory.</content>
public sealed partial class VhostUserSession
{
    // Far beyond any guest, and far below what a process can map, so that one front-end cannot use up the address space of all.
    private const ulong MaxTotalMemoryBytes = 1UL << 44;

    private ImmutableArray<SessionRegion> _regions = [];

    private async ValueTask SetMemoryTableAsync(VhostUserMessage message, CancellationToken cancellationToken)
    {
        var payload = message.Payload;
        if (payload.Length < RegionDescription.PrefixBytes)
        {
            throw new VhostUserException($"{message.Name} has {payload.Length} bytes of payload, fewer than {RegionDescription.PrefixBytes}");
        }

        var count = BitConverter.ToUInt32(payload.Span);
        if (count > RegionDescription.MaxTableRegions)
        {
            throw new VhostUserException($"{message.Name} has {count} regions, more than {RegionDescription.MaxTableRegions}");
        }

        // Some front-ends always send the whole table, filled or not.
        if (payload.Length < RegionDescription.PrefixBytes + ((int)count * RegionDescription.WireBytes)
            || payload.Length > RegionDescription.PrefixBytes + (RegionDescription.MaxTableRegions * RegionDescription.WireBytes))
        {
            throw new VhostUserException($"{message.Name} has {payload.Length} bytes of payload for {count} regions");
        }

        message.ExpectDescriptors(_link.CarriesDescriptors ? (int)count : 0);
        var descriptions = new RegionDescription[count];
        for (var i = 0; i < descriptions.Length; i++)
        {
            descriptions[i] = RegionDescription.Read(payload.Span[(RegionDescription.PrefixBytes + (i * RegionDescription.WireBytes))..]);
        }

        CheckRegions(descriptions);
        var next = ImmutableArray.CreateBuilder<SessionRegion>(descriptions.Length);
        var created = new List<SessionRegion>();
        try
        {
            for (var i = 0; i < descriptions.Length; i++)
            {
                var descriptor = _link.CarriesDescriptors ? message.TakeDescriptor(i) : null;
                var former = _regions.FirstOrDefault(region => region.Mapped.IsSameMemory(descriptions[i], descriptor));
                if (former is not null)
                {
                    descriptor?.Dispose();
                    next.Add(former with { Description = descriptions[i] });
                }
                else
                {
                    var region = MapRegion(descriptions[i], descriptor);
                    created.Add(region);
                    next.Add(region);
                }
            }
        }
        catch
        {
            created.ForEach(region => region.Release());
            throw;
        }

        await ChangeMemoryAsync(next.ToImmutable(), created, cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask AddMemoryRegionAsync(VhostUserMessage message, CancellationToken cancellationToken)
    {
        message.ExpectLength(RegionDescription.PrefixBytes + RegionDescription.WireBytes);
        message.ExpectDescriptors(_link.CarriesDescriptors ? 1 : 0);
        var description = RegionDescription.Read(message.Payload.Span[RegionDescription.PrefixBytes..]);
        if (_regions.Length >= MaxMemorySlots)
        {
            throw new VhostUserException($"{message.Name} comes after {_regions.Length} regions, as many as there may be");
        }

        CheckRegions([.. _regions.Select(region => region.Description), description]);
        var added = MapRegion(description, _link.CarriesDescriptors ? message.TakeDescriptor(0) : null);
        await ChangeMemoryAsync(_regions.Add(added), [added], cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask RemoveMemoryRegionAsync(VhostUserMessage message, CancellationToken cancellationToken)
    {
        message.ExpectLength(RegionDescription.PrefixBytes + RegionDescription.WireBytes);
        if (message.DescriptorCount > 1)
        {
            // One is tolerated, as the protocol asks for, and closed.
            message.ExpectDescriptors(0);
        }

        var description = RegionDescription.Read(message.Payload.Span[RegionDescription.PrefixBytes..]);
        var removed = _regions.FirstOrDefault(region =>
            region.Description.GuestAddress == description.GuestAddress
            && region.Description.UserAddress == description.UserAddress
            && region.Description.LengthBytes == description.LengthBytes)
            ?? throw new VhostUserException(
                $"{message.Name} names no region: guest address 0x{description.GuestAddress:x}, user address 0x{description.UserAddress:x}, "
                + $"length 0x{description.LengthBytes:x}");
        await ChangeMemoryAsync(_regions.Remove(removed), [], cancellationToken).ConfigureAwait(false);
    }

    private static void CheckRegions(ReadOnlySpan<RegionDescription> descriptions)
    {
        ulong total = 0;
        for (var i = 0; i < descriptions.Length; i++)
        {
            descriptions[i].Check();
            if (descriptions[i].LengthBytes > MaxTotalMemoryBytes - total)
            {
                throw new VhostUserException($"the front-end has more than {MaxTotalMemoryBytes >> 40} TiB of memory");
            }

            total += descriptions[i].LengthBytes;
            for (var j = 0; j < i; j++)
            {
                if (descriptions[i].Overlaps(descriptions[j]))
                {
                    throw new VhostUserException(
                        $"the memory regions at guest addresses 0x{descriptions[j].GuestAddress:x} and 0x{descriptions[i].GuestAddress:x} overlap");
                }
            }
        }
    }

    private SessionRegion MapRegion(in RegionDescription description, Linux.FileDescriptor? descriptor)
    {
        var mapped = _link.MapRegion(description, descriptor);
        try
        {
            return new SessionRegion(description, mapped, _options.Memory.Register(mapped.Region));
        }
        catch
        {
            mapped.Dispose();
            throw;
        }
    }

    private async ValueTask ChangeMemoryAsync(
        ImmutableArray<SessionRegion> next, IReadOnlyList<SessionRegion> created, CancellationToken cancellationToken)
    {
        var former = _regions;
        var rings = new Dictionary<int, VirtqueueAddresses>();
        try
        {
            RequireLog(next);
            foreach (var ring in _rings.Where(ring => ring.IsRunning))
            {
                if (TryResolve(ring, next, out var addresses, out var fault))
                {
                    rings.Add(ring.Index, addresses);
                    continue;
                }

                // Firmware and rebooting guests leave rings behind in memory that goes away; that is the queue's end, not the session's.
                await StopRingAsync(ring, cancellationToken).ConfigureAwait(false);
                ring.IsStranded = true;
                _logger.LogWarning(VhostUserEvents.QueueStoppedByMemory, "{Name}: queue {Queue} is stopped by a change of memory: {Fault}", _options.Name, ring.Index, fault);
            }
        }
        catch
        {
            foreach (var region in created)
            {
                region.Release();
            }

            throw;
        }

        // Until the device has let go of the former regions the session owns both; its end releases whatever is in the list.
        var kept = next.Select(region => region.Mapped).ToHashSet();
        var removed = former.Where(region => !kept.Contains(region.Mapped)).ToArray();
        _regions = next.AddRange(removed);
        var users = await _session.SetMemoryAsync(new GuestMemoryMap(next.Select(region => region.Mapped.Region)), rings, cancellationToken)
            .ConfigureAwait(false);
        _regions = next;
        if (users > 0)
        {
            Retain(removed, users);
            return;
        }

        foreach (var region in removed)
        {
            region.Release();
        }
    }

    private void ReleaseMemoryAtEnd()
    {
        ReleaseTracking();
        var regions = _regions;
        _regions = [];
        if (Interlocked.Read(ref _abandonedRequests) > 0)
        {
            Retain(regions, _abandonedRequests);
            return;
        }

        foreach (var region in regions)
        {
            region.Release();
        }
    }

    private void Retain(IReadOnlyList<SessionRegion> regions, long users)
    {
        if (regions.Count == 0)
        {
            return;
        }

        var bytes = regions.Aggregate(0UL, (sum, region) => sum + region.Description.LengthBytes);
        RetainedMemory.Keep(regions.SelectMany(region => new IDisposable[] { region.Mapped, region.Registration }), bytes);
        _logger.LogError(
            VhostUserEvents.MemoryRetained, "{Name}: {Users} requests still use {Mebibytes} MiB of the front-end's memory after {Seconds:0.#} s; it stays mapped until this process ends "
            + "({Total} MiB in all). The bdev behind the controller does not complete its requests",
            _options.Name, users, bytes >> 20, _options.DrainTimeout.TotalSeconds, RetainedMemory.Bytes >> 20);
    }

    private bool TryResolve(SessionRing ring, ImmutableArray<SessionRegion> regions, out VirtqueueAddresses addresses, out string fault)
    {
        addresses = default;
        var wire = ring.Address!.Value;
        var (descriptorArea, driverArea, deviceArea) = RingLayout.Of(Format, ring.Size);
        if (!TryTranslate(regions, wire.Descriptors, descriptorArea, Format == VirtqueueFormat.Packed, out var descriptors, out fault)
            || !TryTranslate(regions, wire.Available, driverArea, false, out var driver, out fault)
            || !TryTranslate(regions, wire.Used, deviceArea, true, out var device, out fault))
        {
            return false;
        }

        addresses = new VirtqueueAddresses(descriptors, driver, device, (wire.Flags & VringAddress.LogFlag) != 0 ? wire.Log : 0);
        return true;
    }

    private static bool TryTranslate(
        ImmutableArray<SessionRegion> regions, ulong userAddress, RingArea area, bool isWritten, out nint address, out string fault)
    {
        address = 0;
        if ((userAddress & (area.Alignment - 1)) != 0)
        {
            fault = $"the {area.Name} at user address 0x{userAddress:x} is not aligned to {area.Alignment} bytes";
            return false;
        }

        foreach (var region in regions)
        {
            // An address below the region wraps to a large offset.
            var offset = userAddress - region.Description.UserAddress;
            if (offset < region.Description.LengthBytes && area.LengthBytes <= region.Description.LengthBytes - offset)
            {
                address = region.Mapped.Region.HostAddress + (nint)offset;
                if (isWritten && !region.Mapped.Region.IsWritable)
                {
                    fault = $"the {area.Name} at user address 0x{userAddress:x} lies in read-only memory";
                    return false;
                }

                if (((ulong)address & (area.Alignment - 1)) != 0)
                {
                    fault = $"the {area.Name} at user address 0x{userAddress:x} lies in a memory region that is not aligned to {area.Alignment} bytes";
                    return false;
                }

                fault = "";
                return true;
            }
        }

        fault = $"the {area.Name} at user address 0x{userAddress:x}, {area.LengthBytes} bytes, is not within one memory region";
        return false;
    }
}
