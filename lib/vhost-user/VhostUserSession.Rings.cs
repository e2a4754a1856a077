using System.Buffers.Binary;
using System.Numerics;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;

namespace Vhost.VhostUser;

/// <content>The life of the rings.</content>
public sealed partial class VhostUserSession
{
    private const ushort PackedWrapCounter = 1 << 15;

    private long _abandonedRequests;

    private VirtqueueFormat Format => (_virtioFeatures & VhostUserFeatures.RingPacked) != 0 ? VirtqueueFormat.Packed : VirtqueueFormat.Split;

    private async ValueTask SetVringNumAsync(VhostUserMessage message, CancellationToken cancellationToken)
    {
        var (ring, size) = ReadVringState(message);
        if (size == 0 || size > (uint)Math.Min(_device.MaxQueueSize, RingLayout.MaxSize))
        {
            throw new VhostUserException($"queue {ring.Index} has {size} entries; 1 to {Math.Min(_device.MaxQueueSize, RingLayout.MaxSize)} are possible");
        }

        if (ring.Size != (int)size)
        {
            await StopRingAsync(ring, cancellationToken).ConfigureAwait(false);
            ring.Size = (int)size;
        }
    }

    private async ValueTask SetVringAddressAsync(VhostUserMessage message, CancellationToken cancellationToken)
    {
        message.ExpectLength(VringAddress.LengthBytes);
        message.ExpectDescriptors(0);
        var address = VringAddress.Read(message.Payload.Span);
        var ring = RingAt(message, address.Index);
        if ((address.Flags & ~VringAddress.LogFlag) != 0)
        {
            throw new VhostUserException($"queue {ring.Index} has unknown address flags 0x{address.Flags:x}");
        }

        if (ring.Address != address)
        {
            await StopRingAsync(ring, cancellationToken).ConfigureAwait(false);
            ring.Address = address;
            ring.IsStranded = false;
        }
    }

    private async ValueTask SetVringBaseAsync(VhostUserMessage message, CancellationToken cancellationToken)
    {
        var (ring, number) = ReadVringState(message);
        await StopRingAsync(ring, cancellationToken).ConfigureAwait(false);
        ring.Base = number;
        ring.BaseBeforeReset = null;
        ring.State = null;
    }

    private async ValueTask SetVringEnableAsync(VhostUserMessage message, CancellationToken cancellationToken)
    {
        // Known front-ends send the ring's size for "enable".
        var (ring, number) = ReadVringState(message);
        ring.Enabled = number != 0;
        if (number == 0)
        {
            await StopRingAsync(ring, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask SetVringKickAsync(VhostUserMessage message, CancellationToken cancellationToken)
    {
        var (ring, descriptor, _) = ReadVringDescriptor(message);
        var kick = _link.OpenKick(ring.Index, descriptor);
        try
        {
            await StopRingAsync(ring, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            kick.Dispose();
            throw;
        }

        ring.Kick?.Dispose();
        ring.Kick = kick;
    }

    private async ValueTask DisableAllAsync(CancellationToken cancellationToken)
    {
        await StopRunningRingsAsync(cancellationToken).ConfigureAwait(false);
        foreach (var ring in _rings)
        {
            ring.Enabled = null;
            ring.Kick?.Dispose();
            ring.Kick = null;
        }
    }

    private bool IsReady(SessionRing ring) =>
        !ring.IsRunning && _featuresSet && _regions.Length > 0 && ring.Size > 0 && ring.Address is not null && ring.Kick is not null
        && (ring.Enabled ?? !_protocolFeaturesAcked);

    private async ValueTask StartReadyRingsAsync(CancellationToken cancellationToken)
    {
        foreach (var ring in _rings)
        {
            if (IsReady(ring))
            {
                await StartRingAsync(ring, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private async ValueTask StartRingAsync(SessionRing ring, CancellationToken cancellationToken)
    {
        var format = Format;
        if (format == VirtqueueFormat.Split && !BitOperations.IsPow2(ring.Size))
        {
            throw new VhostUserException($"queue {ring.Index} is a split ring of {ring.Size} entries, which is not a power of two");
        }

        if (!TryResolve(ring, _regions, out var addresses, out var fault))
        {
            if (ring.IsStranded)
            {
                return;
            }

            throw new VhostUserException($"queue {ring.Index}: {fault}");
        }

        RequireLog(_regions);
        if (addresses.UsedLogGuestAddress != 0)
        {
            var (descriptors, _, device) = RingLayout.Of(format, ring.Size);
            RequireLogUpTo(addresses.UsedLogGuestAddress + (format == VirtqueueFormat.Packed ? descriptors : device).LengthBytes);
        }

        ring.Call ??= _link.CreateCall(ring.Index);
        var setup = new VirtqueueSetup
        {
            QueueIndex = ring.Index,
            Size = ring.Size,
            Format = format,
            Addresses = addresses,
            State = ring.State ?? StateFromBase(ring, format, addresses),
            KickFileDescriptor = ring.Kick!.WakeFileDescriptor,
            Call = ring.Call,
            InFlight = InFlightOf(ring, format),
            DirtyLog = IsLogging && _log is not null ? _log.Area : default,
        };

        // Not the time that requests under way have: the compiler, and whatever else the reactor does, comes before the first of them.
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(_options.StartTimeout);
        try
        {
            await _session.StartQueueAsync(setup, limit.Token).ConfigureAwait(false);
        }
        catch (ArgumentException exception)
        {
            throw new VhostUserException($"queue {ring.Index} cannot start: {exception.Message}", exception);
        }
        catch (OperationCanceledException exception)
        {
            // Either it never starts, or it is being started and does not return from that: the end of the session asks which.
            ring.IsRunning = true;
            throw new VhostUserException($"queue {ring.Index} did not start in time; its reactor does not answer", exception);
        }

        ring.IsRunning = true;
        ring.IsStranded = false;
        _logger.LogDebug(
            VhostUserEvents.QueueRuns, "{Name}: queue {Queue} runs ({Format}, {Size} entries, {Kick})", _options.Name, ring.Index, format, ring.Size,
            setup.KickFileDescriptor < 0 ? "polled" : "kicked");
    }

    private static VirtqueueState StateFromBase(SessionRing ring, VirtqueueFormat format, VirtqueueAddresses addresses)
    {
        if (format == VirtqueueFormat.Packed)
        {
            // Both positions with their wrap counters; rings begin at 0 with the counters set.
            var both = ring.Base ?? (PackedWrapCounter | ((uint)PackedWrapCounter << 16));
            return new VirtqueueState((ushort)both, (ushort)(both >> 16));
        }

        // The protocol has the available index only; the used index is the driver's own view, in the used ring behind its flags.
        ushort used;
        unsafe
        {
            // SAFETY: the used ring was found to lie wholly within mapped memory.
            used = BinaryPrimitives.ReadUInt16LittleEndian(new ReadOnlySpan<byte>((void*)(addresses.Device + sizeof(ushort)), sizeof(ushort)));
        }

        var next = ring.Base ?? 0;
        return next <= ushort.MaxValue
            ? new VirtqueueState((ushort)next, used)
            : throw new VhostUserException($"queue {ring.Index} has the impossible base 0x{next:x}");
    }

    private uint BaseOf(SessionRing ring)
    {
        if (ring.State is not { } state)
        {
            return ring.Base ?? ring.BaseBeforeReset ?? (Format == VirtqueueFormat.Packed ? PackedWrapCounter | ((uint)PackedWrapCounter << 16) : 0);
        }

        return Format == VirtqueueFormat.Packed ? state.NextAvailable | ((uint)state.NextUsed << 16) : state.NextAvailable;
    }

    private async ValueTask StopRingAsync(SessionRing ring, CancellationToken cancellationToken)
    {
        if (!ring.IsRunning)
        {
            return;
        }

        var stop = await _session.StopQueueAsync(ring.Index, cancellationToken).ConfigureAwait(false);
        ring.IsRunning = false;
        ring.State = stop.State;
        if (stop.AbandonedRequestCount > 0)
        {
            _abandonedRequests += stop.AbandonedRequestCount;
            throw new VhostUserException(
                $"queue {ring.Index} has {stop.AbandonedRequestCount} requests that did not complete within {_options.DrainTimeout.TotalSeconds:0.#} s; "
                + "the front-end resubmits them when it connects again");
        }
    }

    private async ValueTask StopRunningRingsAsync(CancellationToken cancellationToken)
    {
        foreach (var ring in _rings)
        {
            await StopRingAsync(ring, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask StopAllForEndAsync(CancellationToken cancellationToken)
    {
        // All at once: one queue that hangs does not use up the time of the others.
        var stops = _rings.Where(ring => ring.IsRunning).Select(ring => StopForEndAsync(ring, cancellationToken)).ToArray();
        try
        {
            await Task.WhenAll(stops).WaitAsync(_options.DrainTimeout * 2, CancellationToken.None).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            _abandonedRequests++;
            _logger.LogError(VhostUserEvents.QueuesNotStopped, "{Name}: the device does not stop its queues; its reactor does not answer", _options.Name);
        }
    }

    private async Task StopForEndAsync(SessionRing ring, CancellationToken cancellationToken)
    {
        try
        {
            var stop = await _session.StopQueueAsync(ring.Index, cancellationToken).ConfigureAwait(false);
            if (stop.AbandonedRequestCount > 0)
            {
                Interlocked.Add(ref _abandonedRequests, stop.AbandonedRequestCount);
                _logger.LogError(
                    VhostUserEvents.QueueGivenUp, "{Name}: queue {Queue} was given up with {Count} requests under way after {Seconds:0.#} s",
                    _options.Name, ring.Index, stop.AbandonedRequestCount, _options.DrainTimeout.TotalSeconds);
            }
        }
        catch (Exception exception)
        {
            Interlocked.Increment(ref _abandonedRequests);
            _logger.LogError(VhostUserEvents.QueueStopFailed, exception, "{Name}: queue {Queue} did not stop", _options.Name, ring.Index);
        }

        ring.IsRunning = false;
    }
}
