using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;

namespace Vhost.Bench;

/// <summary><c>vhost-compare</c>: the whole table.</summary>
internal static class CompareCommand
{
    /// <summary>Makes the command.</summary>
    public static RootCommand Create()
    {
        var vhostd = new Option<string>("--vhostd") { Description = "The published vhostd program.", DefaultValueFactory = _ => "artifacts/vhostd/vhostd" };
        var peer = new Option<string>("--peer") { Description = "qemu-storage-daemon.", DefaultValueFactory = _ => "qemu-storage-daemon" };
        var spdk = new Option<string?>("--spdk") { Description = "SPDK's vhost program, to measure it as well. It needs 1 GiB of huge pages of 2 MiB." };
        var disk = new Option<string>("--disk-directory") { Description = "A directory on a disk.", DefaultValueFactory = _ => "/var/tmp" };
        var rounds = new Option<int>("--rounds") { Description = "Runs of each side of a case.", DefaultValueFactory = _ => 5 };
        var seconds = new Option<double>("--seconds") { Description = "Length of a run.", DefaultValueFactory = _ => 0.6 };
        var requests = new Option<long>("--endless-requests") { Description = "Requests that are counted for allocation and collections.", DefaultValueFactory = _ => 100_000_000 };
        var only = new Option<string[]>("--only") { Description = "Only groups with one of these words: null, malloc, file, metrics, spdk, modes, idle, memory table, endless, reactors.", AllowMultipleArgumentsPerToken = true };
        var markdown = new Option<string?>("--markdown") { Description = "Write the table here as a Markdown section." };
        var svg = new Option<string?>("--svg") { Description = "Write a picture of the table here." };
        var command = new RootCommand("Measures vhostd beside qemu-storage-daemon and beside bare loops, and judges every goal. CPU 0 serves, CPU 1 is the client.")
        {
            vhostd, peer, spdk, disk, rounds, seconds, requests, only, markdown, svg,
        };
        command.SetAction(parsed =>
        {
            var options = new CompareOptions
            {
                Vhostd = Path.GetFullPath(parsed.GetValue(vhostd)!),
                Peer = parsed.GetValue(peer)!,
                Spdk = parsed.GetValue(spdk),
                DiskDirectory = parsed.GetValue(disk)!,
                Rounds = parsed.GetValue(rounds),
                Seconds = parsed.GetValue(seconds),
                EndlessRequests = parsed.GetValue(requests),
                Only = parsed.GetValue(only) ?? [],
            };
            try
            {
                Run(options, parsed.GetValue(markdown), parsed.GetValue(svg));
                return 0;
            }
            catch (Exception exception) when (exception is FrontEndException or LinuxException or IOException)
            {
                Console.Error.WriteLine($"vhost-compare: {exception.Message}");
                return 1;
            }
        });
        return command;
    }

    private static void Run(CompareOptions options, string? markdown, string? svg)
    {
        var machine = DescribeMachine();
        Console.WriteLine($"{DateTime.UtcNow:yyyy-MM-dd}, {machine}");
        Console.WriteLine(MarkdownReport.Head);
        using var comparison = new Comparison(options, row => Console.WriteLine(MarkdownReport.Line(row)));
        var rows = comparison.Run();
        Console.WriteLine(MarkdownReport.DescribeMachine(comparison.RoundTripsNanoseconds));
        Console.WriteLine($"{rows.Count(row => row.IsMet == true)} of {rows.Count(row => row.IsMet is not null)} goals met");
        if (markdown is not null)
        {
            var command = string.Create(CultureInfo.InvariantCulture, $"bench/compare.sh --rounds {options.Rounds} --seconds {options.Seconds}");
            File.WriteAllText(markdown, MarkdownReport.Section(rows, command, machine, comparison.RoundTripsNanoseconds));
        }

        if (svg is not null)
        {
            File.WriteAllText(svg, SvgChart.Draw(rows, $"How far each goal is reached ({machine})"));
        }
    }

    private static string DescribeMachine()
    {
        var model = File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal))?.Split(':')[1].Trim() ?? RuntimeInformation.ProcessArchitecture.ToString();
        var kernel = File.ReadAllText("/proc/sys/kernel/osrelease").Trim();
        return $"{Scheduling.GetAllowedCpus().Count} CPUs of {model}, Linux {kernel.Split('-')[0]}";
    }
}
