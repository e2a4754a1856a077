using System.Buffers.Binary;
using Microsoft.Extensions.Logging;
using Vhost.Abstractions;
using Vhost.Linux;

namespace Vhost.VhostUser;

/// <summary>
/// The back-end's side of one vhost-user connection. It knows no socket: a transport feeds it messages and the link carries its replies. One control thread
/// at a time. A front-end is not trusted: whatever is wrong with a message ends the session with one reason, and nothing else happens.
/// </summary>
public sealed partial class VhostUserSession : IFrontEnd, IAsyncDisposable
{
    /// <summary>Memory regions that a front-end may have; the kernel's vhost and KVM allow as many slots.</summary>
    public const int MaxMemorySlots = 509;

    private const int MaxQueues = 256; // the index has 8 bits in SET_VRING_KICK
    private const ProtocolFeatures KnownProtocolFeatures =
        ProtocolFeatures.MultiQueue | ProtocolFeatures.ReplyAck | ProtocolFeatures.Config | ProtocolFeatures.ConfigureMemorySlots
        | ProtocolFeatures.BackendRequest | ProtocolFeatures.Status | ProtocolFeatures.ResetDevice
        | ProtocolFeatures.InFlightSharedMemory | ProtocolFeatures.LogSharedMemory;

    private readonly IVirtioDevice _device;
    private readonly IVhostUserLink _link;
    private readonly VhostUserSessionOptions _options;
    private readonly ILogger _logger;
    private readonly IVirtioSession _session;
    private readonly SessionRing[] _rings;
    private readonly Lock _noticeLock = new();
    private IBackendChannel? _backendChannel;
    private ProtocolFeatures _protocolFeatures;
    private ulong _virtioFeatures;
    private bool _protocolFeaturesAcked;
    private bool _featuresSet;
    private byte _status;
    private bool _ended;

    /// <summary>Opens a session of a device.</summary>
    /// <param name="device">The device.</param>
    /// <param name="link">What carries the messages; it outlives the session.</param>
    /// <param name="options">The rest.</param>
    public VhostUserSession(IVirtioDevice device, IVhostUserLink link, VhostUserSessionOptions options)
    {
        _device = device;
        _link = link;
        _options = options;
        _logger = options.Logger;
        _rings = [.. Enumerable.Range(0, Math.Min(device.MaxQueueCount, MaxQueues)).Select(index => new SessionRing(index))];
        _session = device.OpenSession(this);
    }

    private ulong OfferedFeatures =>
        (_device.OfferedFeatures & ~(VhostUserFeatures.AccessPlatform | VhostUserFeatures.LogAll)) | VhostUserFeatures.ProtocolFeatures
        | ((OfferedProtocolFeatures & ProtocolFeatures.LogSharedMemory) != 0 ? VhostUserFeatures.LogAll : 0);

    private ProtocolFeatures OfferedProtocolFeatures => KnownProtocolFeatures & _link.ProtocolFeatures;

    /// <summary>Handles one message, replies to it, and starts the rings that can start now.</summary>
    /// <param name="message">The message; disposed when this is done.</param>
    /// <param name="cancellationToken">Cuts the wait for requests under way short.</param>
    /// <exception cref="VhostUserException">The session is over; end it with <see cref="EndAsync"/>.</exception>
    public async ValueTask HandleAsync(VhostUserMessage message, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(message);
        using var owned = message;
        ObjectDisposedException.ThrowIf(_ended, this);
        using var drain = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        drain.CancelAfter(_options.DrainTimeout);
        MessageOutcome outcome;
        if (_logger.IsEnabled(LogLevel.Trace))
        {
            _logger.LogTrace(VhostUserEvents.MessageReceived, "{Name}: {Message}, {Length} bytes, {Descriptors} descriptors", _options.Name, message.Name, message.Payload.Length, message.DescriptorCount);
        }

        try
        {
            message.Header.CheckRequest();
            outcome = await DispatchAsync(message, drain.Token).ConfigureAwait(false);
            await StartReadyRingsAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception) when (message.NeedsReply && HasNegotiated(ProtocolFeatures.ReplyAck) && !HasOwnReply(message.Request))
        {
            // The front-end learns which message was refused before the link closes; the exception is what is reported.
            TryReplyNumber(message, 1);
            throw;
        }

        if (outcome != MessageOutcome.Replied && message.NeedsReply && HasNegotiated(ProtocolFeatures.ReplyAck))
        {
            ReplyNumber(message, outcome == MessageOutcome.Refused ? 1u : 0u);
        }
    }

    /// <summary>
    /// Ends the session: stops all rings, closes all descriptors, and unmaps the guest's memory if no request uses it any more. Idempotent; never throws.
    /// </summary>
    /// <param name="cancellationToken">Cuts the wait for requests under way short.</param>
    public async ValueTask EndAsync(CancellationToken cancellationToken)
    {
        if (_ended)
        {
            return;
        }

        _ended = true;
        using var drain = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        drain.CancelAfter(_options.DrainTimeout);
        await StopAllForEndAsync(drain.Token).ConfigureAwait(false);
        try
        {
            // The rings are stopped or given up, so that this has nothing to wait for; the bound holds even if a device errs.
            await _session.DisposeAsync().AsTask().WaitAsync(_options.DrainTimeout, CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            _abandonedRequests++;
            _logger.LogError(VhostUserEvents.SessionCloseFailed, exception, "{Name}: the device did not close its session", _options.Name);
        }

        lock (_noticeLock)
        {
            _backendChannel?.Dispose();
            _backendChannel = null;
            if (_abandonedRequests > 0)
            {
                // A reactor that has not answered may still use these numbers, which another file is not to get.
                RetainedMemory.Keep(_rings.SelectMany(ring => ring.TakeNotifiers()), 0);
            }

            foreach (var ring in _rings)
            {
                ring.Dispose();
            }
        }

        ReleaseMemoryAtEnd();
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => EndAsync(CancellationToken.None);

    /// <inheritdoc/>
    void IFrontEnd.NotifyConfigChanged()
    {
        lock (_noticeLock)
        {
            if (_backendChannel is null)
            {
                _logger.LogInformation(
                    VhostUserEvents.ChangeNotAnnounced, "{Name}: the device's configuration changed, but the front-end gave no channel to tell it (BACKEND_REQ); the guest sees it after a reset",
                    _options.Name);
            }
            else if (!_backendChannel.TrySend(new MessageHeader((uint)BackendRequest.ConfigChanged, MessageHeader.Version, 0)))
            {
                // A full channel holds earlier notices of the same kind, and the front-end reads the whole configuration for each.
                _logger.LogWarning(VhostUserEvents.ChangeNotTaken, "{Name}: the front-end does not read its back-end channel; a configuration change was not announced", _options.Name);
            }
        }
    }

    /// <inheritdoc/>
    void IFrontEnd.OnQueueBroken(int queueIndex, string reason)
    {
        _logger.LogWarning(VhostUserEvents.QueueStopped, "{Name}: queue {Queue} is stopped: {Reason}", _options.Name, queueIndex, reason);
        lock (_noticeLock)
        {
            if ((uint)queueIndex < (uint)_rings.Length)
            {
                _rings[queueIndex].Error?.Notify();
            }
        }
    }

    private static bool HasOwnReply(FrontEndRequest request) => request is
        FrontEndRequest.GetFeatures or FrontEndRequest.GetProtocolFeatures or FrontEndRequest.GetQueueNum or FrontEndRequest.GetVringBase
        or FrontEndRequest.GetConfig or FrontEndRequest.GetMaxMemorySlots or FrontEndRequest.GetStatus or FrontEndRequest.GetInFlightFd
        or FrontEndRequest.SetLogBase;

    private bool HasNegotiated(ProtocolFeatures feature) => (_protocolFeatures & feature) != 0;

    private void Require(VhostUserMessage message, ProtocolFeatures feature)
    {
        if (!HasNegotiated(feature))
        {
            throw new VhostUserException($"{message.Name} came without the protocol feature {feature}");
        }
    }

    private void ReplyNumber(VhostUserMessage message, ulong number)
    {
        Span<byte> payload = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(payload, number);
        Reply(message, payload);
    }

    private void Reply(VhostUserMessage message, ReadOnlySpan<byte> payload, FileDescriptor? descriptor = null)
    {
        var header = new MessageHeader(message.Header.Request, MessageHeader.Version | MessageHeader.ReplyFlag, (uint)payload.Length);
        _link.SendReply(header, payload, descriptor);
    }

    private void TryReplyNumber(VhostUserMessage message, ulong number)
    {
        try
        {
            ReplyNumber(message, number);
        }
        catch (Exception exception) when (exception is IOException or VhostUserException)
        {
            _logger.LogDebug(VhostUserEvents.RefusalNotTold, exception, "{Name}: the front-end has gone before it could be told of the refusal", _options.Name);
        }
    }
}
