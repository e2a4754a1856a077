using System.Globalization;
using Vhost.Appliance.Client;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;

const string Usage = """
    appliance-client fill|check SOCKET MEMORY TARGET:SEED...   fill LUNs with a pattern and compare, or only compare
    appliance-client read SOCKET MEMORY TARGET...               submit reads of LUNs at once, say so, and wait for them
    appliance-client endure SOCKET MEMORY STEADY:SEED FLEETING:SEED REPORT   read two LUNs, one of which comes and goes; see DiskRunner.Endure
    appliance-client log-writes NAME DISK SECTORS LOG           make a device-mapper device that passes on to DISK and writes down on LOG what is durable
    appliance-client promise SOCKET NAME PLACES REQUESTS SEED   load LUN 0, mark what was promised in the log, and tell it; see DurabilityLoad
    appliance-client survive REPORT PLACES SEED GUEST...        load and check disks whatever becomes of the server; see Survivors
    appliance-client hold DIRECTORY RESERVE_MIB                 take all free memory but for a reserve, and tell whether it changes; see MemoryHolder
    MEMORY is ram, huge, or the path of a file to map, for example a BAR.
    """;

try
{
    switch (args)
    {
        case ["fill" or "check", var socket, var kind, .. var disks]:
            var runner = new DiskRunner(socket, bytes => Memory(kind, bytes));
            foreach (string disk in disks)
            {
                (byte target, uint seed) = Disk(disk);
                long bytes = args[0] == "fill" ? runner.Fill(target, seed) : runner.Check(target, seed);
                Console.WriteLine($"target {target}: {bytes} bytes OK");
            }

            return 0;
        case ["read", var socket, var kind, .. var targets]:
            int reads = new DiskRunner(socket, bytes => Memory(kind, bytes)).Read([.. targets.Select(t => byte.Parse(t, CultureInfo.InvariantCulture))]);
            Console.WriteLine($"completed {reads}");
            return 0;
        case ["endure", var socket, var kind, var steady, var fleeting, var report]:
            new DiskRunner(socket, bytes => Memory(kind, bytes)).Endure(Disk(steady), Disk(fleeting), report);
            return 0;
        case ["log-writes", var name, var disk, var sectors, var log]:
            using (var device = new LogWrites(name))
            {
                device.Create(disk, long.Parse(sectors, CultureInfo.InvariantCulture), log);
            }

            return 0;
        case ["promise", var socket, var name, var places, var requests, var seed]:
            Promise(socket, name, Number(places), Number(requests), Number(seed));
            return 0;
        case ["survive", var report, var places, var seed, .. var guests]:
            Console.WriteLine(new Survivors(report).Run((ulong)Number(places), Number(seed), guests));
            return 0;
        case ["hold", var directory, var reserve]:
            new MemoryHolder(directory, int.Parse(reserve, CultureInfo.InvariantCulture)).Run();
            return 0;
        default:
            Console.Error.WriteLine(Usage);
            return 2;
    }
}
catch (Exception e) when (e is FrontEndException or LinuxException or IOException)
{
    Console.Error.WriteLine($"appliance-client: {e.Message}");
    return 1;
}

static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);

static void Promise(string socket, string name, int places, int requests, int seed)
{
    using var memory = new GuestMemory(0, 4 << 20);
    using var device = FrontEndDevice.Connect(socket, memory, new FrontEndOptions { QueueSize = 64, FirstRequestQueue = VirtioScsiRequests.FirstRequestQueue });
    using var log = new LogWrites(name);
    long marks = 0;
    var promises = new DurabilityLoad(device, isScsi: true, isWriteThrough: false, places, new Random(seed), isForLogWrites: true).Run(requests, () =>
    {
        log.Mark($"{marks}");
        return marks++;
    });
    foreach (DurabilityPromise promise in promises)
    {
        Console.WriteLine($"{promise.Position} {promise.Place} {string.Join(' ', promise.Generations)}");
    }
}

static (byte Target, uint Seed) Disk(string text)
{
    string[] parts = text.Split(':');
    return (byte.Parse(parts[0], CultureInfo.InvariantCulture), uint.Parse(parts[1], CultureInfo.InvariantCulture));
}

static GuestMemory Memory(string kind, ulong bytes)
{
    if (kind is "ram" or "huge")
    {
        return new GuestMemory(kind == "huge" ? 2u << 20 : 0, bytes);
    }

    var memory = new GuestMemory(0);
    _ = memory.AddFile(kind, bytes);
    return memory;
}
