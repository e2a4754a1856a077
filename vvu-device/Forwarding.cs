using System.Buffers.Binary;
using Vhost.Linux;
using Vhost.VhostUser;

namespace Vhost.VvuDevice;

/// <summary>What becomes of each vhost-user message: it passes, is changed on the way because the driver gets no descriptors, or ends the connection.</summary>
/// <param name="layout">The device's layout.</param>
/// <param name="memory">The other VM's memory.</param>
/// <param name="tracking">The device's own; null where it forwards no more than the published devices.</param>
internal sealed class Forwarding(DeviceLayout layout, ComputeMemory memory, TrackingMemory? tracking)
{
    /// <summary>Longest message.</summary>
    public const int MaxMessageBytes = MessageHeader.LengthBytes + MessageHeader.MaxPayloadBytes;

    // The published devices take bit numbers for bits: this is what they let through.
    private const ulong PublishedFeatures = 0x3;
    private const ulong NoDescriptor = 1 << 8;

    private const ulong CarriedFeatures = (ulong)(ProtocolFeatures.MultiQueue | ProtocolFeatures.ReplyAck | ProtocolFeatures.BackendRequest
        | ProtocolFeatures.Config | ProtocolFeatures.ResetDevice | ProtocolFeatures.ConfigureMemorySlots | ProtocolFeatures.Status
        | ProtocolFeatures.InFlightSharedMemory | ProtocolFeatures.LogSharedMemory);

    /// <summary>A message of the other VM.</summary>
    /// <param name="message">The message.</param>
    /// <param name="master">Its connection.</param>
    /// <param name="isFull">Whether the driver acknowledged full forwarding.</param>
    /// <returns>The payload for the driver.</returns>
    /// <exception cref="MasterFault">It does not pass.</exception>
    public byte[] FromMaster(VhostUserMessage message, Master master, bool isFull)
    {
        if (!isFull && !IsPublished(message.Request))
        {
            throw new MasterFault($"{message.Name} does not pass without full forwarding");
        }

        byte[] payload = message.Payload.ToArray();
        switch (message.Request)
        {
            case FrontEndRequest.SetMemoryTable:
                SetMemoryTable(message, payload);
                break;
            case FrontEndRequest.AddMemoryRegion:
                ExpectDescriptors(message, 1);
                ChangeRegion(message, payload, region => memory.Add(region, message.TakeDescriptor(0)));
                break;
            case FrontEndRequest.RemoveMemoryRegion:
                ChangeRegion(message, payload, memory.Remove);
                break;
            case FrontEndRequest.SetVringKick:
                SetKick(message, payload, master);
                break;
            case FrontEndRequest.SetVringCall:
                (int queue, FileDescriptor? call) = TakeEventFd(message, payload);
                master.SetCall(queue, call);
                break;
            case FrontEndRequest.SetVringError:
                (int failed, FileDescriptor? error) = TakeEventFd(message, payload);
                master.SetError(failed, error);
                break;
            case FrontEndRequest.SetProtocolFeatures:
                ExpectDescriptors(message, 0);
                BinaryPrimitives.WriteUInt64LittleEndian(payload, Number(message, payload) & (isFull ? CarriedFeatures : PublishedFeatures));
                break;
            case FrontEndRequest.SetBackendRequestFd:
                ExpectDescriptors(message, 1);
                master.SetBackendChannel(TakeSocket(message));
                break;
            case FrontEndRequest.SetInFlightFd:
                ExpectDescriptors(message, 1);
                ExpectInFlight(message, payload);
                tracking!.SetInFlight(SharedAreaDescription.ReadInFlight(payload), message.TakeDescriptor(0)).WriteInFlight(payload);
                break;
            case FrontEndRequest.SetLogBase:
                ExpectDescriptors(message, 1);
                if (payload.Length != SharedAreaDescription.LogWireBytes)
                {
                    throw new MasterFault($"{message.Name} has {payload.Length} bytes of payload instead of {SharedAreaDescription.LogWireBytes}");
                }

                tracking!.SetLog(SharedAreaDescription.ReadLog(payload), message.TakeDescriptor(0)).WriteLog(payload);
                break;
            case FrontEndRequest.SetLogFd:
                // Nobody has to be told of each page: the descriptor is closed with the message.
                break;
            case FrontEndRequest.GetVringBase:
                // The call stays: what the driver completes while it stops the queue still interrupts the other VM.
                ExpectDescriptors(message, 0);
                master.SetKick(QueueIndex(message, payload), null);
                break;
            case FrontEndRequest.SetVringNum or FrontEndRequest.SetVringAddress or FrontEndRequest.SetVringBase or FrontEndRequest.SetVringEnable:
                QueueIndex(message, payload);
                ExpectDescriptors(message, 0);
                break;
            default:
                // What carries a descriptor means nothing to the driver without it.
                ExpectDescriptors(message, 0);
                break;
        }

        return payload;
    }

    /// <summary>A message of the driver.</summary>
    /// <param name="bytes">The buffer.</param>
    /// <param name="length">Its length, which may be greater.</param>
    /// <param name="master">The connection.</param>
    /// <param name="isFull">Whether the driver acknowledged full forwarding.</param>
    /// <exception cref="MasterFault">It does not pass: the connection ends, as with the published devices.</exception>
    public void FromDriver(Span<byte> bytes, int length, Master master, bool isFull)
    {
        if (length < MessageHeader.LengthBytes || length > bytes.Length)
        {
            throw new MasterFault($"the driver sent a message of {length} bytes, {MessageHeader.LengthBytes} to {bytes.Length} are possible");
        }

        Span<byte> message = bytes[..length];
        MessageHeader header = MessageHeader.Read(message);
        header.CheckFrame();
        if (header.PayloadBytes != (uint)(length - MessageHeader.LengthBytes))
        {
            throw new MasterFault($"the driver sent a message of {length} bytes that announces {header.PayloadBytes} bytes of payload");
        }

        Span<byte> payload = message[MessageHeader.LengthBytes..];
        if ((header.Flags & MessageHeader.ReplyFlag) != 0)
        {
            if (header.Request == (uint)FrontEndRequest.GetProtocolFeatures && payload.Length == sizeof(ulong))
            {
                // What the device does not carry must not be offered.
                ulong offered = BinaryPrimitives.ReadUInt64LittleEndian(payload);
                BinaryPrimitives.WriteUInt64LittleEndian(payload, offered & (isFull ? CarriedFeatures : PublishedFeatures));
            }

            // What the driver marked before it replied is in the log when the other VM reads the reply.
            tracking?.FlushLog();
            if (isFull && header.Request == (uint)FrontEndRequest.GetInFlightFd && payload.Length >= SharedAreaDescription.InFlightWireBytes)
            {
                SharedAreaDescription wanted = SharedAreaDescription.ReadInFlight(payload);
                if (wanted.LengthBytes != 0)
                {
                    (SharedAreaDescription made, int descriptor) = tracking!.CreateInFlight(wanted);
                    made.WriteInFlight(payload);
                    master.Reply(message, descriptor);
                    return;
                }
            }

            master.Reply(message);
            return;
        }

        if (!isFull)
        {
            throw new MasterFault($"the driver sent message {header.Request} without the reply flag");
        }

        if (header.Flags != MessageHeader.Version)
        {
            throw new MasterFault($"the driver sent request {header.Request} with flags 0x{header.Flags:x}: acknowledgements of requests are not carried");
        }

        // Without a channel nobody listens, as where the other VM never asked for one.
        master.TryRequest(message);
    }

    private static bool IsPublished(FrontEndRequest request) => request is FrontEndRequest.GetFeatures or FrontEndRequest.SetFeatures
        or FrontEndRequest.SetOwner or FrontEndRequest.ResetOwner or FrontEndRequest.SetVringNum or FrontEndRequest.SetVringAddress
        or FrontEndRequest.SetVringBase or FrontEndRequest.GetVringBase or FrontEndRequest.GetProtocolFeatures or FrontEndRequest.SetProtocolFeatures
        or FrontEndRequest.GetQueueNum or FrontEndRequest.SetVringEnable or FrontEndRequest.SetMemoryTable or FrontEndRequest.SetVringCall
        or FrontEndRequest.SetVringKick;

    private static void ExpectDescriptors(VhostUserMessage message, int count)
    {
        if (message.DescriptorCount != count)
        {
            throw new MasterFault($"{message.Name} carries {message.DescriptorCount} descriptors instead of {count}");
        }
    }

    private static ulong Number(VhostUserMessage message, byte[] payload) => payload.Length == sizeof(ulong)
        ? BinaryPrimitives.ReadUInt64LittleEndian(payload)
        : throw new MasterFault($"{message.Name} has {payload.Length} bytes of payload instead of {sizeof(ulong)}");

    private static int QueueIndex(VhostUserMessage message, byte[] payload)
    {
        if (payload.Length < VringState.LengthBytes)
        {
            throw new MasterFault($"{message.Name} has {payload.Length} bytes of payload");
        }

        uint index = BinaryPrimitives.ReadUInt32LittleEndian(payload);
        return index < DeviceLayout.MaxQueues ? (int)index : throw new MasterFault($"{message.Name} names queue {index} of {DeviceLayout.MaxQueues}");
    }

    private static (int Queue, FileDescriptor? Descriptor) TakeEventFd(VhostUserMessage message, byte[] payload)
    {
        ulong number = Number(message, payload);
        bool hasNone = (number & NoDescriptor) != 0;
        ExpectDescriptors(message, hasNone ? 0 : 1);
        return ((int)(number & 0xff), hasNone ? null : Master.TakeEventFd(message));
    }

    private static UnixSocket TakeSocket(VhostUserMessage message)
    {
        using FileDescriptor descriptor = message.TakeDescriptor(0);
        return FileStatus.Of(descriptor.Raw).Kind == FileKind.Socket
            ? new UnixSocket(descriptor.Detach())
            : throw new MasterFault($"{message.Name} carries no socket");
    }

    private static void ExpectInFlight(VhostUserMessage message, byte[] payload)
    {
        if (payload.Length < SharedAreaDescription.InFlightWireBytes)
        {
            throw new MasterFault($"{message.Name} has {payload.Length} bytes of payload, fewer than {SharedAreaDescription.InFlightWireBytes}");
        }
    }

    private static void ChangeRegion(VhostUserMessage message, byte[] payload, Func<RegionDescription, RegionDescription> change)
    {
        if (payload.Length != RegionDescription.PrefixBytes + RegionDescription.WireBytes)
        {
            throw new MasterFault($"{message.Name} has {payload.Length} bytes of payload");
        }

        Span<byte> field = payload.AsSpan(RegionDescription.PrefixBytes);
        change(RegionDescription.Read(field)).Write(field);
    }

    private void SetMemoryTable(VhostUserMessage message, byte[] payload)
    {
        uint count = payload.Length < RegionDescription.PrefixBytes ? uint.MaxValue : BinaryPrimitives.ReadUInt32LittleEndian(payload);
        if (count > RegionDescription.MaxTableRegions || payload.Length < RegionDescription.PrefixBytes + ((int)count * RegionDescription.WireBytes))
        {
            throw new MasterFault($"{message.Name} announces {count} regions in {payload.Length} bytes");
        }

        ExpectDescriptors(message, (int)count);
        var regions = new RegionDescription[count];
        for (int i = 0; i < regions.Length; i++)
        {
            regions[i] = RegionDescription.Read(payload.AsSpan(RegionDescription.PrefixBytes + (i * RegionDescription.WireBytes)));
        }

        memory.SetTable(regions, message);
        for (int i = 0; i < regions.Length; i++)
        {
            regions[i].Write(payload.AsSpan(RegionDescription.PrefixBytes + (i * RegionDescription.WireBytes)));
        }
    }

    private void SetKick(VhostUserMessage message, byte[] payload, Master master)
    {
        (int queue, FileDescriptor? kick) = TakeEventFd(message, payload);
        if (layout.HasCapabilities)
        {
            master.SetKick(queue, kick);
            return;
        }

        // The device of 2018 cannot interrupt for kicks: the driver is told to poll.
        kick?.Dispose();
        BinaryPrimitives.WriteUInt64LittleEndian(payload, (ulong)queue | NoDescriptor);
    }
}
