using System.Runtime.InteropServices;
using Vhost.Abstractions;
using Vhost.Testing.FrontEnd;

namespace Vhost.Crash.Tests;

/// <summary>What was acknowledged as flushed, or as forced, survives a loss of power at any moment afterwards.</summary>
public sealed class DurabilityTests
{
    private const int Block = DurabilityLoad.BlockBytes;
    private const int Places = 512;
    private const int Requests = 6000;
    private const ulong FlushFeature = 1UL << 9; // VIRTIO_BLK_F_FLUSH

    /// <summary>With a cache and flushes; without a cache, when each write is durable; with forced writes and flushes.</summary>
    [Theory]
    [InlineData("blk", VirtqueueFormat.Split)]
    [InlineData("blk, write-through", VirtqueueFormat.Packed)]
    [InlineData("scsi", VirtqueueFormat.Split)]
    public async Task Whatever_was_acknowledged_as_durable_is_there_after_a_cut_at_any_moment(string device, VirtqueueFormat format)
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            int seed = TestSeed.Get();
            TestContext.Current.TestOutputHelper!.WriteLine($"seed {seed}");
            string socket = scenario.FilePath("s");
            string log = scenario.FilePath("log");
            var builder = new ManifestBuilder().Bdev("Recorder", "recorder", new() { ["log"] = log, ["sizeMiB"] = Places * Block >> 20, ["seed"] = seed });
            bool isScsi = device == "scsi";
            var manifest = (isScsi ? builder.Scsi("vhost.0", socket, "Recorder") : builder.Blk("vhost.0", socket, "Recorder")).Build();
            VhostdProcess vhostd = await VhostdProcess.StartAsync(
                scenario, manifest, "--plugins", Path.Combine(TestEnvironment.VhostdDirectory, "plugins"), "--plugins", Path.Combine(AppContext.BaseDirectory, "fixtures"));
            IReadOnlyList<DurabilityPromise> promises = await Task.Run(() => Load(socket, log, device, format, new Random(seed)));

            // In the middle of its work, with requests under way.
            vhostd.Kill();
            int checks = Check(await File.ReadAllBytesAsync(log, TestContext.Current.CancellationToken), promises);
            Assert.True(promises.Count > 100);
            TestContext.Current.TestOutputHelper.WriteLine($"{promises.Count} promises, {checks} blocks checked");
        });
    }

    /// <summary>A load; the promises that its acknowledgements made.</summary>
    private static IReadOnlyList<DurabilityPromise> Load(string socket, string log, string deviceName, VirtqueueFormat format, Random random)
    {
        bool isScsi = deviceName == "scsi";
        bool isWriteThrough = deviceName.EndsWith("write-through", StringComparison.Ordinal);
        using var memory = new GuestMemory(0, 4 << 20);
        using var device = FrontEndDevice.Connect(socket, memory, new FrontEndOptions
        {
            Format = format,
            QueueSize = 64,
            FirstRequestQueue = isScsi ? VirtioScsiRequests.FirstRequestQueue : 0,
            Features = isWriteThrough ? 0 : FlushFeature,
        });

        // When an acknowledgement has come, whatever the log holds by then has to be enough.
        return new DurabilityLoad(device, isScsi, isWriteThrough, Places, random).Run(Requests, () => new FileInfo(log).Length);
    }

    /// <summary>Cuts the log where each promise was made: what the flushes before the cut cover is all that is left.</summary>
    private static int Check(byte[] log, IReadOnlyList<DurabilityPromise> promises)
    {
        long[] stable = new long[Places];
        var cached = new Queue<(long Number, int Place, long Generation)>();
        long writes = 0;
        long position = 0;
        int checks = 0;
        foreach (DurabilityPromise promise in promises.OrderBy(promise => promise.Position))
        {
            while (position + 24 <= promise.Position)
            {
                ReadOnlySpan<byte> record = log.AsSpan((int)position);
                long argument = MemoryMarshal.Read<long>(record[8..]);
                long length = MemoryMarshal.Read<long>(record[16..]);
                if (position + 24 + length > promise.Position)
                {
                    // A later one, of which only a part was there.
                    break;
                }

                position += 24 + length;
                if (MemoryMarshal.Read<long>(record) == 0)
                {
                    Assert.Equal(Block, length);
                    ReadOnlySpan<long> words = MemoryMarshal.Cast<byte, long>(record.Slice(24, Block));
                    Assert.Equal(argument / Block, words[0]);
                    Assert.Equal(words[1], words[^1]);
                    cached.Enqueue((writes++, (int)words[0], words[1]));
                    continue;
                }

                while (cached.TryPeek(out var oldest) && oldest.Number < argument)
                {
                    stable[oldest.Place] = cached.Dequeue().Generation;
                }
            }

            if (promise.Place >= 0)
            {
                Assert.True(stable[promise.Place] >= promise.Generations[0], $"a forced write to {promise.Place} is lost: {stable[promise.Place]} < {promise.Generations[0]}");
                checks++;
                continue;
            }

            for (int place = 0; place < Places; place++)
            {
                Assert.True(stable[place] >= promise.Generations[place], $"a flushed write to {place} is lost: {stable[place]} < {promise.Generations[place]}");
                checks++;
            }
        }

        return checks;
    }
}
