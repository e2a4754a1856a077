using Microsoft.Extensions.Logging;
using Vhost.Linux;

namespace Vhost.VhostUser;

/// <content>What each message means.</content>
public sealed partial class VhostUserSession
{
    private const ulong VringIndexMask = 0xff;
    private const ulong NoDescriptorFlag = 1 << 8;

    private async ValueTask<MessageOutcome> DispatchAsync(VhostUserMessage message, CancellationToken cancellationToken)
    {
        switch (message.Request)
        {
            case FrontEndRequest.GetFeatures:
                ExpectNothing(message);
                return ReplyWith(message, OfferedFeatures);
            case FrontEndRequest.GetProtocolFeatures:
                ExpectNothing(message);
                return ReplyWith(message, (ulong)OfferedProtocolFeatures);
            case FrontEndRequest.GetQueueNum:
                ExpectNothing(message);
                return ReplyWith(message, (ulong)_rings.Length);
            case FrontEndRequest.GetMaxMemorySlots:
                Require(message, ProtocolFeatures.ConfigureMemorySlots);
                ExpectNothing(message);
                return ReplyWith(message, MaxMemorySlots);
            case FrontEndRequest.GetStatus:
                Require(message, ProtocolFeatures.Status);
                ExpectNothing(message);
                return ReplyWith(message, _status);
            case FrontEndRequest.GetConfig:
                return GetConfig(message);
            case FrontEndRequest.SetConfig:
                return SetConfig(message);
            case FrontEndRequest.GetInFlightFd:
                Require(message, ProtocolFeatures.InFlightSharedMemory);
                return GetInFlight(message);
            case FrontEndRequest.SetLogBase:
                Require(message, ProtocolFeatures.LogSharedMemory);
                return await SetLogBaseAsync(message, cancellationToken).ConfigureAwait(false);
            case FrontEndRequest.GetVringBase:
                return await GetVringBaseAsync(message, cancellationToken).ConfigureAwait(false);
            default:
                return await SetAsync(message, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask<MessageOutcome> SetAsync(VhostUserMessage message, CancellationToken cancellationToken)
    {
        switch (message.Request)
        {
            case FrontEndRequest.SetOwner:
                ExpectNothing(message);
                break;
            case FrontEndRequest.SetFeatures:
                message.ExpectDescriptors(0);
                await SetFeaturesAsync(message.ReadNumber(), cancellationToken).ConfigureAwait(false);
                break;
            case FrontEndRequest.SetProtocolFeatures:
                message.ExpectDescriptors(0);
                SetProtocolFeatures(message.ReadNumber());
                break;
            case FrontEndRequest.SetMemoryTable:
                await SetMemoryTableAsync(message, cancellationToken).ConfigureAwait(false);
                break;
            case FrontEndRequest.AddMemoryRegion:
                Require(message, ProtocolFeatures.ConfigureMemorySlots);
                await AddMemoryRegionAsync(message, cancellationToken).ConfigureAwait(false);
                break;
            case FrontEndRequest.RemoveMemoryRegion:
                Require(message, ProtocolFeatures.ConfigureMemorySlots);
                await RemoveMemoryRegionAsync(message, cancellationToken).ConfigureAwait(false);
                break;
            case FrontEndRequest.SetVringNum:
                await SetVringNumAsync(message, cancellationToken).ConfigureAwait(false);
                break;
            case FrontEndRequest.SetVringAddress:
                await SetVringAddressAsync(message, cancellationToken).ConfigureAwait(false);
                break;
            case FrontEndRequest.SetVringBase:
                await SetVringBaseAsync(message, cancellationToken).ConfigureAwait(false);
                break;
            case FrontEndRequest.SetVringEnable:
                await SetVringEnableAsync(message, cancellationToken).ConfigureAwait(false);
                break;
            case FrontEndRequest.SetVringKick:
                await SetVringKickAsync(message, cancellationToken).ConfigureAwait(false);
                break;
            case FrontEndRequest.SetVringCall:
                SetVringCall(message);
                break;
            case FrontEndRequest.SetVringError:
                SetVringError(message);
                break;
            case FrontEndRequest.SetInFlightFd:
                Require(message, ProtocolFeatures.InFlightSharedMemory);
                await SetInFlightAsync(message, cancellationToken).ConfigureAwait(false);
                break;
            case FrontEndRequest.SetLogFd:
                Require(message, ProtocolFeatures.LogSharedMemory);
                SetLogFd(message);
                break;
            case FrontEndRequest.SetBackendRequestFd:
                SetBackendChannel(message);
                break;
            case FrontEndRequest.ResetOwner:
                ExpectNothing(message);
                await DisableAllAsync(cancellationToken).ConfigureAwait(false);
                break;
            case FrontEndRequest.ResetDevice:
                Require(message, ProtocolFeatures.ResetDevice);
                ExpectNothing(message);
                await ResetDeviceAsync(cancellationToken).ConfigureAwait(false);
                break;
            case FrontEndRequest.SetStatus:
                Require(message, ProtocolFeatures.Status);
                message.ExpectDescriptors(0);
                await SetStatusAsync(message.ReadNumber(), cancellationToken).ConfigureAwait(false);
                break;
            default:
                throw new VhostUserException($"{message.Name} is not offered");
        }

        return MessageOutcome.Done;
    }

    private static void ExpectNothing(VhostUserMessage message)
    {
        message.ExpectLength(0);
        message.ExpectDescriptors(0);
    }

    private MessageOutcome ReplyWith(VhostUserMessage message, ulong number)
    {
        ReplyNumber(message, number);
        return MessageOutcome.Replied;
    }

    private async ValueTask SetFeaturesAsync(ulong features, CancellationToken cancellationToken)
    {
        var unknown = features & ~OfferedFeatures;
        if (unknown != 0)
        {
            throw new VhostUserException($"SetFeatures accepts features that were not offered: 0x{unknown:x}");
        }

        _protocolFeaturesAcked = (features & VhostUserFeatures.ProtocolFeatures) != 0;
        var virtioFeatures = features & ~VhostUserFeatures.ProtocolFeatures;
        if (_featuresSet && virtioFeatures == _virtioFeatures)
        {
            return;
        }

        await StopRunningRingsAsync(cancellationToken).ConfigureAwait(false);
        if (((virtioFeatures ^ _virtioFeatures) & VhostUserFeatures.RingPacked) != 0)
        {
            // A position in a split ring means nothing in a packed one.
            foreach (var ring in _rings)
            {
                ring.State = null;
            }
        }

        try
        {
            // Logging is between this protocol and the rings; the device knows its own features only.
            _session.SetFeatures(virtioFeatures & ~VhostUserFeatures.LogAll);
        }
        catch (ArgumentException exception)
        {
            throw new VhostUserException($"the device refuses the features 0x{virtioFeatures:x}: {exception.Message}", exception);
        }

        _virtioFeatures = virtioFeatures;
        _featuresSet = true;
    }

    private void SetProtocolFeatures(ulong features)
    {
        var unknown = features & ~(ulong)OfferedProtocolFeatures;
        if (unknown != 0)
        {
            throw new VhostUserException($"SetProtocolFeatures accepts protocol features that were not offered: 0x{unknown:x}");
        }

        _protocolFeatures = (ProtocolFeatures)features;
    }

    private MessageOutcome GetConfig(VhostUserMessage message)
    {
        Require(message, ProtocolFeatures.Config);
        message.ExpectDescriptors(0);
        var range = ReadConfigRange(message);
        if (!range.IsPossible)
        {
            // An empty payload tells the front-end that there is no such range.
            _logger.LogWarning(
                VhostUserEvents.ConfigurationReadRefused, "{Name}: the front-end asks for configuration bytes {Offset}+{Length}, past the greatest configuration space",
                _options.Name, range.OffsetBytes, range.LengthBytes);
            Reply(message, []);
            return MessageOutcome.Replied;
        }

        // Front-ends compare the reply's length with that of their request.
        Span<byte> reply = stackalloc byte[Math.Max(message.Payload.Length, ConfigRange.WireBytes + (int)range.LengthBytes)];
        reply.Clear();
        range.Write(reply);
        _device.ReadConfig((int)range.OffsetBytes, reply.Slice(ConfigRange.WireBytes, (int)range.LengthBytes));
        Reply(message, reply);
        return MessageOutcome.Replied;
    }

    private MessageOutcome SetConfig(VhostUserMessage message)
    {
        Require(message, ProtocolFeatures.Config);
        message.ExpectDescriptors(0);
        var range = ReadConfigRange(message);
        if (!range.IsPossible || message.Payload.Length - ConfigRange.WireBytes < (int)range.LengthBytes)
        {
            throw new VhostUserException($"SetConfig writes the impossible range {range.OffsetBytes}+{range.LengthBytes}");
        }

        var written = (range.Flags & ConfigRange.MigrationFlag) == 0
            && _device.WriteConfig((int)range.OffsetBytes, message.Payload.Span.Slice(ConfigRange.WireBytes, (int)range.LengthBytes));
        if (!written)
        {
            _logger.LogWarning(
                VhostUserEvents.ConfigurationWriteRefused, "{Name}: the front-end may not write configuration bytes {Offset}+{Length}; refused",
                _options.Name, range.OffsetBytes, range.LengthBytes);
        }

        return written ? MessageOutcome.Done : MessageOutcome.Refused;
    }

    private static ConfigRange ReadConfigRange(VhostUserMessage message) => message.Payload.Length >= ConfigRange.WireBytes
        ? ConfigRange.Read(message.Payload.Span)
        : throw new VhostUserException($"{message.Name} has {message.Payload.Length} bytes of payload, fewer than {ConfigRange.WireBytes}");

    private void SetBackendChannel(VhostUserMessage message)
    {
        Require(message, ProtocolFeatures.BackendRequest);
        message.ExpectLength(0);
        message.ExpectDescriptors(_link.CarriesDescriptors ? 1 : 0);
        var channel = _link.OpenBackendChannel(_link.CarriesDescriptors ? message.TakeDescriptor(0) : null);
        lock (_noticeLock)
        {
            _backendChannel?.Dispose();
            _backendChannel = channel;
        }
    }

    private async ValueTask ResetDeviceAsync(CancellationToken cancellationToken)
    {
        await StopRunningRingsAsync(cancellationToken).ConfigureAwait(false);
        foreach (var ring in _rings)
        {
            if (ring.State is not null || ring.Base is not null)
            {
                ring.BaseBeforeReset = BaseOf(ring);
            }

            ring.Reset();
        }

        _session.ResetDevice();
        _featuresSet = false;
        _status = 0;
    }

    private async ValueTask SetStatusAsync(ulong status, CancellationToken cancellationToken)
    {
        if (status > byte.MaxValue)
        {
            throw new VhostUserException($"SetStatus has the impossible value 0x{status:x}");
        }

        if (status == 0)
        {
            await ResetDeviceAsync(cancellationToken).ConfigureAwait(false);
        }

        _status = (byte)status;
    }

    private SessionRing RingAt(VhostUserMessage message, ulong index) => index < (ulong)_rings.Length
        ? _rings[index]
        : throw new VhostUserException($"{message.Name} names queue {index}, but the device has {_rings.Length}");

    private (SessionRing Ring, uint Number) ReadVringState(VhostUserMessage message)
    {
        message.ExpectLength(VringState.LengthBytes);
        message.ExpectDescriptors(0);
        var state = VringState.Read(message.Payload.Span);
        return (RingAt(message, state.Index), state.Number);
    }

    private (SessionRing Ring, FileDescriptor? Descriptor, bool HasNone) ReadVringDescriptor(VhostUserMessage message)
    {
        var number = message.ReadNumber();
        if ((number & ~(VringIndexMask | NoDescriptorFlag)) != 0)
        {
            throw new VhostUserException($"{message.Name} has the impossible value 0x{number:x}");
        }

        var ring = RingAt(message, number & VringIndexMask);
        var hasNone = (number & NoDescriptorFlag) != 0;
        var expected = hasNone || !_link.CarriesDescriptors ? 0 : 1;
        message.ExpectDescriptors(expected);
        return (ring, expected == 1 ? message.TakeDescriptor(0) : null, hasNone);
    }

    private void SetVringCall(VhostUserMessage message)
    {
        var (ring, descriptor, hasNone) = ReadVringDescriptor(message);
        ring.Call ??= _link.CreateCall(ring.Index);
        ring.Call.SetTarget(descriptor, hasNone);
    }

    private void SetVringError(VhostUserMessage message)
    {
        var (ring, descriptor, hasNone) = ReadVringDescriptor(message);
        lock (_noticeLock)
        {
            ring.Error ??= _link.CreateErrorCall(ring.Index);
            ring.Error.SetTarget(descriptor, hasNone);
        }
    }

    private async ValueTask<MessageOutcome> GetVringBaseAsync(VhostUserMessage message, CancellationToken cancellationToken)
    {
        message.ExpectLength(VringState.LengthBytes);
        var (ring, _) = ReadVringState(message);
        await StopRingAsync(ring, cancellationToken).ConfigureAwait(false);
        ring.Kick?.Dispose();
        ring.Kick = null;
        ring.IsStranded = false;
        var payload = new byte[VringState.LengthBytes];
        new VringState((uint)ring.Index, BaseOf(ring)).Write(payload);
        Reply(message, payload);
        return MessageOutcome.Replied;
    }
}
