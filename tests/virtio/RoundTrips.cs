namespace Vhost.Virtio.Tests;

/// <summary>Sends requests of given shapes through an echo device and compares every byte of the guest's memory that matters.</summary>
internal static class RoundTrips
{
    private const int AreaBytes = 0x4_0000;

    public static void Run(Bench bench, (int[] Readable, int[] Writable)[] round, Random random, int repeat)
    {
        for (var i = 0; i < repeat; i++)
        {
            var expected = new Dictionary<ulong, (DriverSegment[] Targets, byte[] Data, uint Written)>();
            // Half of the area lies in the first region, half in the second.
            var position = Bench.RamBase + (1 << 20) - (AreaBytes / 2);
            bench.Ram.Span(position, AreaBytes / 2).Fill(0x55);
            bench.Ram.Span(Bench.RamBase + (1 << 20), AreaBytes / 2).Fill(0x55);
            var shapes = bench.Handler.Shapes.Count;
            foreach (var (readable, writable) in round)
            {
                var sources = Place(readable, random, ref position);
                var targets = Place(writable, random, ref position);
                var data = new byte[readable.Sum()];
                random.NextBytes(data);
                Write(bench, sources, data);
                var written = (uint)Math.Min(data.Length, writable.Sum());
                var answer = new byte[writable.Sum()];
                Array.Fill(answer, (byte)0x55);
                for (var j = 0; j < written; j++)
                {
                    answer[j] = (byte)~data[j];
                }

                var token = (ulong)random.NextInt64();
                if (!bench.Driver.TryAdd(sources, targets, token))
                {
                    // No room: the rest of the round is not sent.
                    break;
                }

                expected.Add(token, (targets, answer, written));
            }

            bench.Driver.Publish();
            var sent = expected.Count;
            bench.Reactor.TurnUntilIdle();
            while (bench.Driver.TryGetUsed(out var token, out var written))
            {
                Assert.True(expected.Remove(token, out var request));
                Assert.Equal(request.Written, written);
                Assert.Equal(request.Data, Read(bench, request.Targets));
            }

            Assert.Null(bench.Driver.BrokenReason);
            Assert.Empty(expected);
            Assert.Equal(shapes + sent, bench.Handler.Shapes.Count);
            Assert.Equal(bench.Driver.Size, bench.Driver.FreeCount);
        }
    }

    private static DriverSegment[] Place(int[] lengths, Random random, ref ulong position)
    {
        var segments = new DriverSegment[lengths.Length];
        for (var i = 0; i < lengths.Length; i++)
        {
            position += (ulong)random.Next(40);
            segments[i] = new DriverSegment(position, (uint)lengths[i]);
            position += (ulong)lengths[i];
        }

        return segments;
    }

    private static void Write(Bench bench, DriverSegment[] segments, byte[] data)
    {
        var offset = 0;
        foreach (var segment in segments)
        {
            for (var i = 0U; i < segment.LengthBytes; i++)
            {
                bench.Ram.Span(segment.Address + i, 1)[0] = data[offset++];
            }
        }
    }

    private static byte[] Read(Bench bench, DriverSegment[] segments)
    {
        var data = new List<byte>();
        foreach (var segment in segments)
        {
            for (var i = 0U; i < segment.LengthBytes; i++)
            {
                data.Add(bench.Ram.Span(segment.Address + i, 1)[0]);
            }
        }

        return [.. data];
    }
}
