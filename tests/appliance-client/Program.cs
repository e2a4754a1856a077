using System.Globalization;
using Vhost.Appliance.Client;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;

const string Usage = """
    appliance-client fill|check SOCKET MEMORY TARGET:SEED...   fill LUNs with a pattern and compare, or only compare
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
                string[] parts = disk.Split(':');
                byte target = byte.Parse(parts[0], CultureInfo.InvariantCulture);
                uint seed = uint.Parse(parts[1], CultureInfo.InvariantCulture);
                long bytes = args[0] == "fill" ? runner.Fill(target, seed) : runner.Check(target, seed);
                Console.WriteLine($"target {target}: {bytes} bytes OK");
            }

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
