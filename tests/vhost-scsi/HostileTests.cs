using Vhost.Testing;
using Vhost.Virtio;

namespace Vhost.VhostScsi.Tests;

/// <summary>A guest that sends whatever it likes.</summary>
public sealed class HostileTests
{
    private const ulong Nowhere = 0x7F00_0000_0000;

    [Fact]
    public void A_bad_data_address_fails_that_request_alone()
    {
        using var disk = new MemoryBdevPort();
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }).Settle(0);
        var header = guest.Ram.Allocate(ScsiGuest.HeaderLength);
        BitConverter.TryWriteBytes(guest.Ram.Span(header, 8), ScsiGuest.Lun(0));
        guest.Ram.Span(header + 19, 10)[0] = 0x28;
        guest.Ram.Span(header + 19, 10)[8] = 1;
        var response = guest.Ram.Allocate(ScsiGuest.ResponseLength);
        var token = guest.SendRaw(2, [new(header, ScsiGuest.HeaderLength)], [new(response, ScsiGuest.ResponseLength), new(Nowhere, 512)], response, 12);
        Assert.Equal(9, guest.Receive(token, out var written)[11]);
        Assert.Equal(12u, written);
        Assert.Equal(0, disk.Counts[0]);
        guest.Command(0, "28 00 00000000 00 0001 00", null, 512).Good();
        Assert.Empty(guest.FrontEnd.BrokenQueues);
    }

    [Fact]
    public void A_bad_response_address_breaks_that_queue_alone()
    {
        using var disk = new MemoryBdevPort();
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }, requestQueues: 2).Settle(0);
        var header = guest.Ram.Allocate(ScsiGuest.HeaderLength);
        guest.SendRaw(2, [new(header, ScsiGuest.HeaderLength)], [new(Nowhere, ScsiGuest.ResponseLength)], header, 0);
        guest.Until(() => !guest.FrontEnd.BrokenQueues.IsEmpty);
        Assert.True(guest.FrontEnd.BrokenQueues.TryPeek(out var broken));
        Assert.Equal(2, broken.QueueIndex);
        Assert.NotEmpty(broken.Reason);
        guest.Command(0, "28 00 00000000 00 0001 00", null, 512, 1).Good();
    }

    [Fact]
    public void A_request_without_any_room_for_an_answer_is_given_back()
    {
        using var disk = new MemoryBdevPort();
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk }).Settle(0);
        var header = guest.Ram.Allocate(64);
        foreach (var queue in (int[])[0, 2])
        {
            guest.Receive(guest.SendRaw(queue, [new(header, 64)], [], header, 0), out var written);
            Assert.Equal(0u, written);
        }

        guest.Command(0, "28 00 00000000 00 0001 00", null, 512).Good();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Garbage_is_answered_once_each_and_nothing_else_is_written(int seed)
    {
        const int Guard = 32;
        var random = new Random(seed);
        using var disk = new MemoryBdevPort();
        using var other = new MemoryBdevPort("Other");
        using var guest = new ScsiGuest(new Dictionary<byte, MemoryBdevPort> { [0] = disk, [200] = other }, requestQueues: 2, size: 128, ramBytes: 64 << 20);
        byte[] codes = [0x00, 0x03, 0x08, 0x0A, 0x12, 0x15, 0x16, 0x17, 0x1A, 0x1B, 0x25, 0x28, 0x2A, 0x2F, 0x35, 0x41, 0x42, 0x55, 0x5A, 0x5E, 0x5F, 0x88, 0x89, 0x8A, 0x8B, 0x93, 0x9E, 0xA0, 0xA3];
        for (var round = 0; round < 1500; round++)
        {
            var sent = new List<(ulong Token, ulong Answer, int Length)>();
            for (var i = random.Next(1, 8); i > 0; i--)
            {
                var queue = random.Next(10) == 0 ? 0 : random.Next(2, 4);
                var request = new byte[random.Next(4) == 0 ? random.Next(1, 80) : 51 + random.Next(3) * 512];
                FillRequest(request, queue == 0);
                var length = random.Next(4) == 0 ? random.Next(0, 200) : 108 + random.Next(0, 1200);
                var from = guest.Ram.Allocate((ulong)request.Length, 1);
                request.CopyTo(guest.Ram.Span(from, request.Length));
                var to = guest.Ram.Allocate((ulong)(length + (2 * Guard)), 1) + Guard;
                guest.Ram.Span(to - Guard, length + (2 * Guard)).Fill(0x5A);
                sent.Add((guest.SendRaw(queue, Cut(from, request.Length), Cut(to, length), to, length), to, length));
            }

            foreach (var (token, answer, length) in sent)
            {
                guest.Receive(token, out var written);
                Assert.True(written <= length);
                Assert.True(guest.Ram.Span(answer - Guard, Guard).IndexOfAnyExcept((byte)0x5A) < 0, "something was written before a buffer");
                Assert.True(guest.Ram.Span(answer + (ulong)length, Guard).IndexOfAnyExcept((byte)0x5A) < 0, "something was written behind a buffer");
            }
        }

        Assert.Empty(guest.FrontEnd.BrokenQueues);
        guest.Function(5, ScsiGuest.Lun(0));
        Assert.InRange(guest.Command(0, "12 00 00 00 60 00", null, 96).Good().DataIn[4], 91, 91);

        void FillRequest(byte[] request, bool isControl)
        {
            random.NextBytes(request);
            if (isControl)
            {
                for (var i = 0; i < request.Length && i < 8; i++)
                {
                    request[i] = i is 0 or 4 ? (byte)random.Next(i == 0 ? 4 : 9) : (byte)0;
                }

                SetLun(request, 8);
                return;
            }

            SetLun(request, 0);
            for (var i = 19; i < request.Length && i < 51; i++)
            {
                request[i] = random.Next(3) == 0 ? (byte)random.Next(256) : (byte)random.Next(2);
            }

            if (request.Length > 19)
            {
                request[19] = codes[random.Next(codes.Length)];
            }
        }

        void SetLun(byte[] request, int offset)
        {
            if (random.Next(8) != 0 && request.Length >= offset + 8)
            {
                BitConverter.TryWriteBytes(request.AsSpan(offset), ScsiGuest.Lun(random.Next(2) == 0 ? (byte)0 : (byte)200, random.Next(8) == 0 ? 1 : 0));
            }
        }

        DriverSegment[] Cut(ulong address, int length)
        {
            var pieces = new List<DriverSegment>();
            for (var done = 0; done < length;)
            {
                // At most ten pieces, so that the ring has room.
                var piece = pieces.Count == 9 ? length - done : random.Next(1, length - done + 1);
                pieces.Add(new DriverSegment(address + (ulong)done, (uint)piece));
                done += piece;
            }

            return [.. pieces];
        }
    }
}
