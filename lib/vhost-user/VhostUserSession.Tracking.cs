using Microsoft.Extensions.Logging;
using Vhost.Abstractions;

namespace Vhost.VhostUser;

/// <content>Memory beside guest memory: requests under way ("Inflight I/O tracking") and dirty pages ("Migration").</content>
public sealed partial class VhostUserSession
{
    private const int InFlightPaddedBytes = 24; // with the padding that the C structure has

    private ISharedMemory? _inFlight;
    private SharedAreaDescription _inFlightDescription;
    private ISharedMemory? _log;

    private bool IsLogging => (_virtioFeatures & VhostUserFeatures.LogAll) != 0;

    private MessageOutcome GetInFlight(VhostUserMessage message)
    {
        var wanted = ReadInFlight(message, descriptors: 0);
        var stride = InFlightLayout.StrideBytes(Format, wanted.QueueSize);
        using var created = _link.CreateShared(stride * wanted.QueueCount, "vhost-user in-flight");
        Span<byte> reply = stackalloc byte[message.Payload.Length];
        reply.Clear();
        (wanted with { LengthBytes = stride * wanted.QueueCount, OffsetBytes = 0 }).WriteInFlight(reply);

        // The front-end keeps it and hands it back, in this session and in those after a crash.
        Reply(message, reply, created.Descriptor);
        return MessageOutcome.Replied;
    }

    private async ValueTask SetInFlightAsync(VhostUserMessage message, CancellationToken cancellationToken)
    {
        var description = ReadInFlight(message, _link.CarriesDescriptors ? 1 : 0);
        var needed = InFlightLayout.StrideBytes(Format, description.QueueSize) * description.QueueCount;
        if (description.LengthBytes < needed)
        {
            throw new VhostUserException(
                $"the in-flight area has {description.LengthBytes} bytes; {description.QueueCount} queues of {description.QueueSize} entries need {needed}");
        }

        var area = _link.MapShared(description, _link.CarriesDescriptors ? message.TakeDescriptor(0) : null, "the in-flight area");
        await ReplaceAsync(
            () =>
            {
                _inFlight = area;
                _inFlightDescription = description;
            },
            area,
            cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask<MessageOutcome> SetLogBaseAsync(VhostUserMessage message, CancellationToken cancellationToken)
    {
        message.ExpectLength(SharedAreaDescription.LogWireBytes);
        message.ExpectDescriptors(_link.CarriesDescriptors ? 1 : 0);
        var area = _link.MapShared(
            SharedAreaDescription.ReadLog(message.Payload.Span), _link.CarriesDescriptors ? message.TakeDescriptor(0) : null, "the dirty log");
        await ReplaceAsync(() => _log = area, area, cancellationToken).ConfigureAwait(false);
        ReplyNumber(message, 0);
        return MessageOutcome.Replied;
    }

    private static void SetLogFd(VhostUserMessage message)
    {
        // The front-end reads the log when it likes; nobody needs to be told of each page. The descriptor is closed with the message.
        message.ExpectLength(0);
        if (message.DescriptorCount > 1)
        {
            message.ExpectDescriptors(1);
        }
    }

    private async ValueTask ReplaceAsync(Action swap, ISharedMemory area, CancellationToken cancellationToken)
    {
        try
        {
            // Running rings write into the former area; they start again with the new one.
            await StopRunningRingsAsync(cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            area.Dispose();
            throw;
        }

        var (formerInFlight, formerLog) = (_inFlight, _log);
        swap();
        if (formerInFlight != _inFlight)
        {
            formerInFlight?.Dispose();
        }

        if (formerLog != _log)
        {
            formerLog?.Dispose();
        }
    }

    private void RequireLog(IReadOnlyCollection<SessionRegion> regions)
    {
        if (regions.Count > 0)
        {
            RequireLogUpTo(regions.Max(region => region.Description.GuestAddress + region.Description.LengthBytes));
        }
    }

    /// <summary>A page without a bit in the log would stay behind when the guest leaves, and nobody would know.</summary>
    /// <param name="end">The end of what queues write.</param>
    /// <exception cref="VhostUserException">The log is shorter.</exception>
    private void RequireLogUpTo(ulong end)
    {
        if (!IsLogging || _log is null)
        {
            return;
        }

        // Marked by words of 32 pages.
        var neededBytes = (((end - 1) >> 17) + 1) * sizeof(uint);
        if (_log.Area.LengthBytes < neededBytes)
        {
            throw new VhostUserException($"the dirty log has {_log.Area.LengthBytes} bytes; memory up to guest address 0x{end:x} needs {neededBytes}");
        }
    }

    private SharedAreaDescription ReadInFlight(VhostUserMessage message, int descriptors)
    {
        if (message.Payload.Length is not (SharedAreaDescription.InFlightWireBytes or InFlightPaddedBytes))
        {
            message.ExpectLength(SharedAreaDescription.InFlightWireBytes);
        }

        message.ExpectDescriptors(descriptors);
        var description = SharedAreaDescription.ReadInFlight(message.Payload.Span);
        return description.QueueCount != 0 && description.QueueCount <= _rings.Length
            && description.QueueSize != 0 && description.QueueSize <= Math.Min(_device.MaxQueueSize, RingLayout.MaxSize)
            ? description
            : throw new VhostUserException($"{message.Name} has {description.QueueCount} queues of {description.QueueSize} entries");
    }

    private SharedArea InFlightOf(SessionRing ring, VirtqueueFormat format)
    {
        if (_inFlight is null)
        {
            return default;
        }

        var stride = InFlightLayout.StrideBytes(format, _inFlightDescription.QueueSize);
        if (ring.Size > _inFlightDescription.QueueSize || ring.Index >= _inFlightDescription.QueueCount
            || stride * (ulong)(ring.Index + 1) > _inFlightDescription.LengthBytes)
        {
            throw new VhostUserException(
                $"queue {ring.Index} of {ring.Size} entries has no place in an in-flight area of {_inFlightDescription.QueueCount} queues of {_inFlightDescription.QueueSize}");
        }

        return new SharedArea(_inFlight.Area.Address + (nint)(stride * (ulong)ring.Index), stride);
    }

    private void ReleaseTracking()
    {
        if (_abandonedRequests > 0)
        {
            RetainedMemory.Keep(new IDisposable?[] { _inFlight, _log }.OfType<IDisposable>(), 0);
            _logger.LogDebug(VhostUserEvents.TrackingRetained, "{Name}: in-flight area and dirty log stay mapped too", _options.Name);
        }
        else
        {
            _inFlight?.Dispose();
            _log?.Dispose();
        }

        (_inFlight, _log) = (null, null);
    }
}
