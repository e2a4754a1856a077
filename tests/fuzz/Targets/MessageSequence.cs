using Vhost.Linux;
using Vhost.Testing.FrontEnd;
using Vhost.VhostUser;

namespace Vhost.Fuzz.Tests.Targets;

/// <summary>
/// The messages of a front-end that knows the protocol and does not keep to it: most fields are right, so that memory is mapped and rings run, and any of them may
/// be wrong, as may order, lengths and descriptors. What is in the shared memory changes meanwhile.
/// </summary>
internal sealed class MessageSequence : IDisposable
{
    private const ulong MemoryBytes = 1 << 18;
    private const ulong UserAddress = 0x5550_0000_0000;
    private const int RequestCount = 46;

    private readonly MemoryFile _memory = MemoryFile.Create("fuzz", MemoryBytes);
    private readonly MemoryMapping _mapping;
    private readonly EventFd _signal = EventFd.Create();

    public MessageSequence() => _mapping = MemoryMapping.MapShared(_memory.Raw, 0, (nuint)MemoryBytes);

    /// <summary>Sends what an input says, until it is used up or the back-end has had enough.</summary>
    /// <returns>False if the back-end closed the link.</returns>
    public bool Send(FuzzInput input, FrontEndConnection connection)
    {
        try
        {
            if (!input.Once(8))
            {
                SendNumber(connection, FrontEndRequest.SetProtocolFeatures, input.Once(2) ? 0xffff & ~8UL : input.Raw() & 0x3_ffff & ~8UL);
                SendNumber(connection, FrontEndRequest.SetFeatures, (1UL << 32) | (1UL << 30) | (input.Once(3) ? 1UL << 34 : 0) | (input.Once(3) ? input.Raw() & 0x3fff_ffff : 0));
                connection.SendRaw(Memory(input, FrontEndRequest.SetMemoryTable), _memory.Raw);
            }

            while (!input.IsEmpty)
            {
                Step(input, connection);
            }

            return true;
        }
        catch (LinuxException)
        {
            return false;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _mapping.Dispose();
        _memory.Dispose();
        _signal.Dispose();
    }

    private static void SendNumber(FrontEndConnection connection, FrontEndRequest request, ulong number) =>
        connection.SendRaw(Message((uint)request, 1, BitConverter.GetBytes(number)));

    private static byte[] Message(uint request, uint flags, byte[] payload, int lie = 0)
    {
        var bytes = new byte[MessageHeader.LengthBytes + payload.Length];
        new MessageHeader(request, flags, (uint)(payload.Length + lie)).Write(bytes);
        payload.CopyTo(bytes, MessageHeader.LengthBytes);
        return bytes;
    }

    private unsafe void Step(FuzzInput input, FrontEndConnection connection)
    {
        switch (input.Below(8))
        {
            case < 5:
                var request = (FrontEndRequest)input.Below(RequestCount);
                var files = request switch
                {
                    FrontEndRequest.SetMemoryTable or FrontEndRequest.AddMemoryRegion or FrontEndRequest.SetLogBase or FrontEndRequest.SetInFlightFd => 1,
                    FrontEndRequest.SetVringKick or FrontEndRequest.SetVringCall or FrontEndRequest.SetVringError => input.Once(3) ? 0 : 2,
                    _ => 0,
                };
                if (input.Once(12))
                {
                    files = input.Below(4);
                }

                int[] descriptors = files switch { 0 => [], 1 => [_memory.Raw], 2 => [_signal.Raw], _ => [_memory.Raw, _signal.Raw, connection.Socket.Raw] };
                connection.SendRaw(Memory(input, request), descriptors);
                break;
            case 5:
                // A queue is set up as it should be, with garbage in its rings.
                var index = input.Below(3);
                foreach (var part in (FrontEndRequest[])[FrontEndRequest.SetVringNum, FrontEndRequest.SetVringBase, FrontEndRequest.SetVringAddress])
                {
                    connection.SendRaw(Message((uint)part, 1, Fields(input, part, index, mayLie: false)));
                }

                connection.SendRaw(Message((uint)FrontEndRequest.SetVringKick, 1, BitConverter.GetBytes((ulong)index)), _signal.Raw);
                connection.SendRaw(Message((uint)FrontEndRequest.SetVringEnable, 1, Fields(input, FrontEndRequest.SetVringEnable, index, mayLie: false)));
                break;
            case 6:
                // SAFETY: within the mapping.
                input.Fill(new Span<byte>(_mapping.Address + (input.Below(16) * 4096) + input.Below(1024), input.Below(64)));
                break;
            default:
                _ = EventFd.SignalRaw(_signal.Raw);
                break;
        }
    }

    private static byte[] Memory(FuzzInput input, FrontEndRequest request)
    {
        var payload = Fields(input, request, input.Below(4), mayLie: true);
        var isLie = input.Once(24);
        return Message((uint)request, input.Once(16) ? (uint)input.Raw() : input.Once(3) ? 9u : 1u, payload, isLie ? input.Below(64) - 32 : 0);
    }

    private static byte[] Fields(FuzzInput input, FrontEndRequest request, int index, bool mayLie)
    {
        ulong Any(ulong right) => mayLie && input.Once(8) ? input.Number() : right;
        ulong Pair(ulong low, ulong high) => Any((low & 0xffff_ffff) | (high << 32));
        ulong Ring(int page) => Any(UserAddress + (ulong)((index * 4) + page) * 4096);

        ulong[] words = request switch
        {
            FrontEndRequest.SetMemoryTable => [Any(1), Any(0), Any(MemoryBytes), Any(UserAddress), Any(0)],
            FrontEndRequest.AddMemoryRegion or FrontEndRequest.RemoveMemoryRegion => [Any(0), Any(input.Of(0UL, 1UL << 30)), Any(MemoryBytes), Any(UserAddress), Any(0)],
            FrontEndRequest.SetVringNum => [Pair((ulong)index, input.Of(16UL, 64UL, 256UL))],
            FrontEndRequest.SetVringBase => [Pair((ulong)index, input.Of(0UL, 0x8000_8000UL, 5UL))],
            FrontEndRequest.GetVringBase or FrontEndRequest.SetVringEnable => [Pair((ulong)index, 1)],
            FrontEndRequest.SetVringAddress => [Pair((ulong)index, 0), Ring(0), Ring(1), Ring(2), Any(0)],
            FrontEndRequest.SetVringKick or FrontEndRequest.SetVringCall or FrontEndRequest.SetVringError => [Any((uint)index | (input.Once(4) ? 0x100UL : 0))],
            FrontEndRequest.GetConfig or FrontEndRequest.SetConfig => [Pair(0, 60), 0, 0, 0, 0, 0, 0, 0, 0],
            FrontEndRequest.SetLogBase => [Any(MemoryBytes), Any(0)],
            FrontEndRequest.GetInFlightFd or FrontEndRequest.SetInFlightFd => [Any(MemoryBytes / 4), Any(0), Pair(2, 16)],
            FrontEndRequest.SetFeatures => [Any(0x1_4000_0000 | (input.Raw() & 0x7_3fff_ffff))],
            FrontEndRequest.SetProtocolFeatures => [Any(input.Raw() & 0x3_ffff)],
            FrontEndRequest.SetStatus => [Any(input.Byte())],
            _ => mayLie && input.Once(3) ? [input.Number()] : [],
        };
        var payload = new byte[words.Length * sizeof(ulong)];
        Buffer.BlockCopy(words, 0, payload, 0, payload.Length);
        return mayLie && input.Once(16) ? payload[..input.Below(payload.Length + 1)] : payload;
    }
}
