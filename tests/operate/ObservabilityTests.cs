using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Vhost.Operate.Tests;

/// <summary>What a running vhostd tells whoever looks from outside.</summary>
public sealed partial class ObservabilityTests
{
    private static int _lastPort = Random.Shared.Next(10_000);

    [Fact]
    public async Task Prometheus_scrapes_what_vhostd_counts()
    {
        var port = FreePort();
        await using var vhostd = await Vhostd.StartAsync("--metrics", $"127.0.0.1:{port}");
        await vhostd.AddNullDiskAsync();
        using var http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };

        await BenchAsync(vhostd);
        await vhostd.RpcAsync("bdev_null_create", "name=Unused", "num_blocks=2048", "block_size=512");
        var reads = (await vhostd.RpcAsync("vhostd_get_status"))!["bdevs"]!.AsArray().Single(bdev => bdev!["name"]!.GetValue<string>() == "N0")!["reads"]!.GetValue<long>();
        Assert.True(reads > 0);
        // A scrape that came just before may be answered from its cache.
        string scrape = "";
        await Vhostd.WaitForAsync(async () => (scrape = await http.GetStringAsync("/metrics")).Contains("bdev=\"Unused\"", StringComparison.Ordinal), "the new bdev in /metrics");
        Assert.Equal(reads, Sample(scrape, "vhostd_bdev_operations_total", "bdev=\"N0\"", "operation=\"read\""));
        Assert.Equal(reads * 4096, Sample(scrape, "vhostd_bdev_io_bytes_total", "bdev=\"N0\"", "operation=\"read\""));
        Assert.Equal(reads, Sample(scrape, "vhostd_controller_operations_total", "controller=\"vhost.0\"", "operation=\"read\""));
        Assert.Equal(0, Sample(scrape, "vhostd_bdev_operations_total", "bdev=\"Unused\"", "operation=\"read\""));
        Assert.True(Sample(scrape, "vhostd_reactor_time_seconds_total", "state=\"busy\"") > 0);
        // A machine that keeps the reactor waiting for a second makes it unhealthy for a moment.
        await Vhostd.WaitForAsync(
            async () => (scrape = await http.GetStringAsync("/metrics")) is var now && Sample(now, "vhostd_reactor_healthy", "reactor=\"0\"") == 1 && Sample(now, "vhostd_healthy") == 1,
            "health in /metrics");
        Assert.Equal(64 << 20, Sample(scrape, "vhostd_bdev_size_bytes", "bdev=\"N0\""));
        Assert.Contains("dotnet_gc_", scrape, StringComparison.Ordinal);

        await Vhostd.WaitForAsync(
            async () =>
            {
                using var health = await http.GetAsync(new Uri("/health", UriKind.Relative), TestContext.Current.CancellationToken);
                return health.StatusCode == HttpStatusCode.OK && JsonNode.Parse(await health.Content.ReadAsStringAsync(TestContext.Current.CancellationToken))!["healthy"]!.GetValue<bool>();
            },
            "health in /health");
        Assert.Equal(HttpStatusCode.OK, (await http.GetAsync(new Uri("/ready", UriKind.Relative), TestContext.Current.CancellationToken)).StatusCode);
        // The runtime's HttpListener closes the connection after a foreign name: nothing else goes over it.
        using var foreign = new HttpRequestMessage(HttpMethod.Get, "/health") { Headers = { Host = $"evil.example:{port}", ConnectionClose = true } };
        Assert.False((await http.SendAsync(foreign, TestContext.Current.CancellationToken)).IsSuccessStatusCode);
        await vhostd.StopAsync();
    }

    [Theory]
    [InlineData("--metrics", "0.0.0.0:9464", "observe.metrics")]
    [InlineData("--metrics", "9464", "observe.metrics")]
    [InlineData("--otlp", "localhost", "observe.otlp")]
    public async Task An_address_that_others_reach_or_that_is_none_is_refused(string option, string value, string path)
    {
        var (code, _, error) = await Vhostd.RunAsync("-S", "/tmp", option, value);
        Assert.Equal(2, code);
        Assert.Contains(path, error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Systemd_is_told_of_readiness_life_and_the_stop()
    {
        var directory = Vhostd.NewDirectory();
        using var systemd = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified) { ReceiveTimeout = 120_000 };
        systemd.Bind(new UnixDomainSocketEndPoint(Path.Combine(directory, "notify")));
        await using var vhostd = await Vhostd.StartInAsync(directory, new Dictionary<string, string> { ["NOTIFY_SOCKET"] = Path.Combine(directory, "notify"), ["WATCHDOG_USEC"] = "400000" });
        Assert.StartsWith("READY=1\nSTATUS=serving 0 controllers", Receive(), StringComparison.Ordinal);
        Assert.Equal("WATCHDOG=1", Receive());
        Assert.Equal("WATCHDOG=1", Receive());
        await vhostd.StopAsync();
        string text;
        while ((text = Receive()) == "WATCHDOG=1")
        {
            // Until the stop.
        }

        Assert.StartsWith("STOPPING=1", text, StringComparison.Ordinal);

        string Receive()
        {
            var buffer = new byte[4096];
            return Encoding.UTF8.GetString(buffer, 0, systemd.Receive(buffer));
        }
    }

    [Fact]
    public async Task A_controllers_trace_has_protocol_messages_and_requests_and_a_fault_brings_it_into_the_log()
    {
        await using var vhostd = await Vhostd.StartAsync();
        var path = await vhostd.AddNullDiskAsync();
        await BenchAsync(vhostd);
        var trace = (await vhostd.RpcAsync("vhostd_get_trace", "ctrlr=vhost.0"))!;
        Assert.False(trace["all_requests"]!.GetValue<bool>());
        Assert.Empty(trace["requests"]!.AsArray());
        var events = trace["events"]!.AsArray().Select(recorded => recorded!["text"]!.GetValue<string>()).ToArray();
        Assert.Contains(events, text => text.Contains("SetVringKick", StringComparison.Ordinal));
        Assert.DoesNotContain("SetVringKick", vhostd.Log, StringComparison.Ordinal);

        await vhostd.RpcAsync("vhostd_set_trace", "ctrlr=vhost.0", "all_requests=true");
        await BenchAsync(vhostd);
        var (code, text, error) = await Vhostd.RunAsync("trace", "vhost.0", "-s", vhostd.RpcSocket);
        Assert.Equal((0, ""), (code, error));
        Assert.Matches(@"\d+ requests \(all are recorded\)", text);
        Assert.Matches(@"us ago  N0  read  block \d+ \+ 8  success  ", text);

        // A front-end whose first message is no message.
        using (var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            await client.ConnectAsync(new UnixDomainSocketEndPoint(path), TestContext.Current.CancellationToken);
            await client.SendAsync(Enumerable.Repeat((byte)0xff, 64).ToArray(), TestContext.Current.CancellationToken);
            await Vhostd.WaitForAsync(() => Task.FromResult(vhostd.Log.Contains("what came before", StringComparison.Ordinal) && vhostd.Log.Contains("SetVringKick", StringComparison.Ordinal)), "the record of what came before the fault");
        }

        Assert.Equal(1, (await Vhostd.RunAsync("trace", "vhost.9", "-s", vhostd.RpcSocket)).Code);
        await vhostd.StopAsync();
    }

    [Fact]
    public async Task Top_switches_histograms_on_for_percentiles_and_off_again()
    {
        await using var vhostd = await Vhostd.StartAsync();
        await vhostd.AddNullDiskAsync();
        // It runs for as long as the test looks.
        await using var bench = vhostd.StartBench("vhost.0", "--warm-up", "0.1", "--interrupt");
        await Vhostd.WaitForAsync(async () => (await vhostd.RpcAsync("vhostd_get_status"))!["controllers"]![0]!["reads"]!.GetValue<long>() > 0, "reads");
        var (code, lines, error) = await Vhostd.RunAsync("top", "-s", vhostd.RpcSocket, "-n", "2", "-i", "0.4", "--latency", "--json");
        Assert.Equal((0, ""), (code, error));
        var row = JsonNode.Parse(lines.Split('\n', StringSplitOptions.RemoveEmptyEntries)[1])!["controllers"]![0]!;
        Assert.True(row["p50_us"]!.GetValue<double>() > 0);
        Assert.True(row["p99_us"]!.GetValue<double>() >= row["p50_us"]!.GetValue<double>());
        Assert.Null((await vhostd.RpcAsync("vhostd_get_status"))!["controllers"]![0]!["latency"]);
    }

    /// <summary>
    /// A port that nobody listens on and that nobody is given by chance: below those that Linux hands out, and each only once in this process. Where Linux hands
    /// out all of them, it is asked for one.
    /// </summary>
    internal static int FreePort()
    {
        const int First = 10_000;
        const string Range = "/proc/sys/net/ipv4/ip_local_port_range";
        var end = File.Exists(Range) ? int.Parse(File.ReadAllText(Range).Split('\t')[0], CultureInfo.InvariantCulture) : 0;
        var isReserved = end > First + 1000;
        while (true)
        {
            var port = isReserved ? First + (int)((uint)Interlocked.Increment(ref _lastPort) % (uint)(end - First)) : 0;
            try
            {
                using var listener = new TcpListener(IPAddress.Loopback, port);
                listener.Start();
                return ((IPEndPoint)listener.LocalEndpoint).Port;
            }
            catch (SocketException exception) when (exception.SocketErrorCode == SocketError.AddressAlreadyInUse)
            {
                // The next one.
            }
        }
    }

    internal static async Task BenchAsync(Vhostd vhostd)
    {
        var (code, _, error) = await Vhostd.RunAsync("bench", "vhost.0", "-s", vhostd.RpcSocket, "--seconds", "1", "--warm-up", "0", "--interrupt", "--json");
        Assert.True(code == 0, error);
    }

    private static double Sample(string scrape, string name, params string[] labels)
    {
        var line = scrape.Split('\n').FirstOrDefault(line => SampleLine().Match(line) is { Success: true } match && match.Groups[1].Value == name && labels.All(line.Contains));
        Assert.True(line is not null, $"{name} {string.Join(',', labels)} is not in:\n{scrape}");
        return double.Parse(SampleLine().Match(line).Groups[2].Value, CultureInfo.InvariantCulture);
    }

    [GeneratedRegex(@"^([a-z_]+)(?:\{.*\})? ([-+0-9.eE]+)")]
    private static partial Regex SampleLine();
}
