using CsCheck;
using Vhost.Linux;

namespace Vhost.VhostUser.Tests;

public sealed class CodecTests
{
    // Addresses that meet often, at both ends of the range too.
    private static readonly Gen<ulong> Near = Gen.Select(Gen.Int[0, 12], Gen.Bool).Select((near, isHigh) => isHigh ? ulong.MaxValue - (ulong)near : (ulong)near);

    [Fact]
    public void Headers_survive_the_wire() => Gen.Select(Gen.UInt, Gen.UInt, Gen.UInt).Sample((request, flags, length) =>
    {
        var bytes = new byte[MessageHeader.LengthBytes];
        var header = new MessageHeader(request, flags, length);
        header.Write(bytes);
        return MessageHeader.Read(bytes) == header;
    });

    [Fact]
    public void Ring_states_survive_the_wire() => Gen.Select(Gen.UInt, Gen.UInt).Sample((index, number) =>
    {
        var bytes = new byte[VringState.LengthBytes];
        var state = new VringState(index, number);
        state.Write(bytes);
        return VringState.Read(bytes) == state;
    });

    [Fact]
    public void Ring_addresses_survive_the_wire() =>
        Gen.Select(Gen.UInt, Gen.UInt, Gen.ULong, Gen.ULong, Gen.ULong, Gen.ULong).Sample((index, flags, descriptors, used, available, log) =>
        {
            var bytes = new byte[VringAddress.LengthBytes];
            var address = new VringAddress(index, flags, descriptors, used, available, log);
            address.Write(bytes);
            return VringAddress.Read(bytes) == address;
        });

    [Fact]
    public void Regions_survive_the_wire() => Gen.Select(Gen.ULong, Gen.ULong, Gen.ULong, Gen.ULong).Sample((guest, length, user, offset) =>
    {
        var bytes = new byte[RegionDescription.WireBytes];
        var region = new RegionDescription(guest, length, user, offset);
        region.Write(bytes);
        return RegionDescription.Read(bytes) == region;
    });

    [Fact]
    public void Shared_areas_survive_the_wire() => Gen.Select(Gen.ULong, Gen.ULong, Gen.UShort, Gen.UShort).Sample((length, offset, queues, size) =>
    {
        var bytes = new byte[SharedAreaDescription.InFlightWireBytes];
        var area = new SharedAreaDescription(length, offset, queues, size);
        area.WriteInFlight(bytes);
        return SharedAreaDescription.ReadInFlight(bytes) == area
            && SharedAreaDescription.ReadLog(bytes) == new SharedAreaDescription(length, offset);
    });

    [Fact]
    public void The_fields_lie_where_the_protocol_puts_them()
    {
        var bytes = new byte[40];
        new VringAddress(1, 2, 3, 4, 5, 6).Write(bytes);
        Assert.Equal(
            "0100000002000000" + "0300000000000000" + "0400000000000000" + "0500000000000000" + "0600000000000000", Convert.ToHexStringLower(bytes));
        new RegionDescription(1, 2, 3, 4).Write(bytes);
        Assert.Equal("0100000000000000" + "0200000000000000" + "0300000000000000" + "0400000000000000", Convert.ToHexStringLower(bytes.AsSpan(0, 32)));
    }

    [Fact]
    public void Overlap_is_what_a_wider_number_says() =>
        Gen.Select(Near, Gen.ULong[1, 5], Near, Gen.ULong[1, 5]).Sample((a, aLength, b, bLength) =>
        {
            aLength = Math.Min(aLength, ulong.MaxValue - a + 1 == 0 ? ulong.MaxValue : ulong.MaxValue - a + 1);
            bLength = Math.Min(bLength, ulong.MaxValue - b + 1 == 0 ? ulong.MaxValue : ulong.MaxValue - b + 1);
            var expected = (UInt128)a < (UInt128)b + bLength && (UInt128)b < (UInt128)a + aLength;

            // The user addresses lie far apart: the guest addresses alone decide, and the other way round.
            return new RegionDescription(a, aLength, 0, 0).Overlaps(new RegionDescription(b, bLength, 1UL << 62, 0)) == expected
                && new RegionDescription(0, aLength, a, 0).Overlaps(new RegionDescription(1UL << 62, bLength, b, 0)) == expected;
        });

    [Fact]
    public void Messages_arrive_whole_however_they_are_cut() =>
        Gen.Select(Gen.Byte.Array[0, 64].Array[1, 4], Gen.Int[1, 20]).Sample((payloads, chunk) =>
        {
            var (a, b) = UnixSocket.CreatePair();
            using var sender = a;
            using var receiver = new MessageSocket(b);
            var stream = new List<byte>();
            foreach (var payload in payloads)
            {
                var header = new byte[MessageHeader.LengthBytes];
                new MessageHeader(2, 1, (uint)payload.Length).Write(header);
                stream.AddRange(header);
                stream.AddRange(payload);
            }

            var received = new List<byte[]>();
            foreach (var part in stream.Chunk(chunk))
            {
                sender.SendAll(part);
                while (receiver.TryRead(out var message) == MessageReadState.Message)
                {
                    received.Add(message!.Payload.ToArray());
                    message.Dispose();
                }
            }

            Assert.Equal(payloads, received);
        }, iter: 200);

    [Fact]
    public void Descriptors_stay_with_their_message_and_are_closed_with_it()
    {
        var before = TransportHarness.Descriptors();
        var (a, b) = UnixSocket.CreatePair();
        using (var sender = new MessageSocket(a))
        using (var receiver = new MessageSocket(b))
        using (var file = MemoryFile.Create("x", 4096))
        {
            sender.Send(new MessageHeader(1, 1, 0), [], [file.Raw]);
            sender.Send(new MessageHeader(2, 1, 3), [1, 2, 3], [file.Raw, file.Raw]);
            sender.Send(new MessageHeader(3, 1, 0), []);
            var counts = new List<int>();
            while (receiver.TryRead(out var message) == MessageReadState.Message)
            {
                counts.Add(message!.DescriptorCount);
                message.Dispose();
            }

            Assert.Equal([1, 2, 0], counts);

            // One that never becomes whole.
            var header = new byte[MessageHeader.LengthBytes];
            new MessageHeader(2, 1, 8).Write(header);
            sender.Socket.SendAll(header, default, [file.Raw]);
            Assert.Equal(MessageReadState.Incomplete, receiver.TryRead(out _));
        }

        Assert.Empty(TransportHarness.Descriptors().Except(before));
    }
}
