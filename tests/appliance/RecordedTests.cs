using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Vhost.EndToEnd.Tests.Harness;

namespace Vhost.Appliance.Tests;

/// <summary>What the kernel's block layer was told under a <c>file</c> bdev, by the kernel's own recorder, dm-log-writes.</summary>
public sealed class RecordedTests
{
    private const int Places = 128;
    private const int BlockBytes = 4096;
    private const int Requests = 3000;
    private const int SizeMiB = 16;
    private const int LogMiB = 128;

    /// <summary>
    /// The log has all writes in the order in which they became durable: one without a later flush, and without FUA, is not in it. It is replayed up to the moment of
    /// each acknowledged flush and forced write, and whatever that promised has to be there by then. vhostd is killed with requests under way.
    /// </summary>
    [Fact]
    public async Task What_a_file_bdev_acknowledged_as_durable_the_block_layer_was_told_to_keep()
    {
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            string[] modes = ["false", "true"];
            var arguments = new List<string> { "-drive", $"file={ApplianceImage.FilePath},format=raw,if=none,id=system,read-only=on", "-device", "virtio-blk-pci,drive=system" };
            foreach (string mode in modes)
            {
                Add($"disk-{mode}", SizeMiB);
                Add($"log-{mode}", LogMiB);
            }

            GuestVm vm = await GuestVm.StartAsync(scenario, new GuestVmOptions { Qemu = QemuRelease.Trixie, ExtraArguments = arguments }, "appliance");
            await vm.CheckAsync("set -e; modprobe dm_log_writes; mkdir -p /app; mount -o ro /dev/vda /app");
            for (int i = 0; i < modes.Length; i++)
            {
                int seed = TestSeed.Get() + i;
                string promises = await vm.CheckAsync(Script(i, modes[i], seed), TimeSpan.FromSeconds(300));
                await vm.CheckAsync("sync");
                (int promised, int compared) = Check(scenario.FilePath($"log-{modes[i]}"), promises);
                Assert.True(promised > 20, $"only {promised} promises");
                TestContext.Current.TestOutputHelper!.WriteLine($"direct={modes[i]}, seed {seed}: {promised} promises, {compared} blocks compared");
            }

            void Add(string name, int sizeMiB)
            {
                string file = Disk.Create(scenario.FilePath(name), sizeMiB);
                arguments.AddRange(["-drive", $"file={file},format=raw,if=none,id={name}", "-device", $"virtio-blk-pci,drive={name}"]);
            }
        });
    }

    private static string Script(int device, string isDirect, int seed) =>
        $$"""
        set -e
        cd /run
        export PATH=/app/vhostd:/app/client:$PATH
        appliance-client log-writes recorder{{device}} /dev/vd{{(char)('b' + (2 * device))}} {{SizeMiB * 2048}} /dev/vd{{(char)('c' + (2 * device))}}
        while [ ! -b /dev/dm-{{device}} ]; do sleep 0.1; done
        cat > vhostd.json <<'END'
        {
          "bdevs": { "File0": { "type": "file", "path": "/dev/dm-{{device}}", "direct": {{isDirect}} } },
          "transports": { "t": { "type": "vhost-user", "socket": "/run/vhost.sock" } },
          "controllers": { "c": { "type": "scsi", "transport": "t", "targets": { "0": "File0" } } }
        }
        END
        vhostd run vhostd.json > vhostd.log 2>&1 &
        pid=$!
        for i in $(seq 1800); do if grep -q "vhostd is ready" vhostd.log || ! kill -0 $pid; then break; fi; sleep 0.1; done
        appliance-client promise /run/vhost.sock recorder{{device}} {{Places}} {{Requests}} {{seed}} || { cat vhostd.log; exit 1; }
        kill -KILL $pid
        """;

    /// <summary>Replays the log (drivers/md/dm-log-writes.c has its layout) up to each mark.</summary>
    private static (int Promised, int Compared) Check(string path, string promises)
    {
        const ulong Magic = 0x6a736677736872;
        const ulong Discard = 4;
        const ulong Mark = 8;
        byte[] log = File.ReadAllBytes(path);
        Assert.Equal(Magic, Word(0));
        Assert.Equal(1u, Word(8));
        ulong entries = Word(16);
        int sectorBytes = BinaryPrimitives.ReadInt32LittleEndian(log.AsSpan(24));
        var promised = promises.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => line.Split(' ').Select(word => long.Parse(word, CultureInfo.InvariantCulture)).ToArray())
            .ToDictionary(numbers => numbers[0], numbers => (Place: (int)numbers[1], Generations: numbers[2..]));
        byte[] disk = new byte[SizeMiB << 20];
        int position = sectorBytes;
        int marks = 0;
        int compared = 0;
        for (ulong entry = 0; entry < entries; entry++)
        {
            int sector = (int)Word(position);
            int lengthBytes = (int)Word(position + 8) * sectorBytes;
            ulong flags = Word(position + 16);
            if ((flags & Mark) != 0)
            {
                Assert.Equal(marks, long.Parse(Encoding.ASCII.GetString(log.AsSpan(position + 32, (int)Word(position + 24))).TrimEnd('\0'), CultureInfo.InvariantCulture));
                compared += Compare(disk, promised[marks++]);
            }

            position += sectorBytes;
            if ((flags & Discard) == 0)
            {
                log.AsSpan(position, lengthBytes).CopyTo(disk.AsSpan(sector * sectorBytes));
                position += lengthBytes;
            }
        }

        // Each promise was looked at, and they cover forced writes as well as flushes.
        Assert.Equal(promised.Count, marks);
        Assert.Contains(promised.Values, promise => promise.Place >= 0);
        Assert.Contains(promised.Values, promise => promise.Place < 0);
        return (marks, compared);

        ulong Word(int offset) => BinaryPrimitives.ReadUInt64LittleEndian(log.AsSpan(offset));
    }

    private static int Compare(byte[] disk, (int Place, long[] Generations) promise)
    {
        for (int i = 0; i < promise.Generations.Length; i++)
        {
            int place = promise.Place < 0 ? i : promise.Place;
            ReadOnlySpan<long> words = MemoryMarshal.Cast<byte, long>(disk.AsSpan(place * BlockBytes, BlockBytes));
            Assert.True(words[1] >= promise.Generations[i], $"place {place} holds generation {words[1]}, and {promise.Generations[i]} was promised");
            Assert.Equal(words[1], words[^1]);
            Assert.True(words[1] == 0 || words[0] == place);
        }

        return promise.Generations.Length;
    }
}
