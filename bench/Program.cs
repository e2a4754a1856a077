using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Vhost.Abstractions;
using Vhost.Bench;
using Vhost.Linux;
using Vhost.Testing.FrontEnd;

var socket = new Option<string?>("--socket") { Description = "The server's vhost-user socket." };
var device = new Option<DeviceKind>("--device") { Description = "blk or scsi.", DefaultValueFactory = _ => DeviceKind.Blk };
var target = new Option<byte>("--target") { Description = "scsi: the target.", DefaultValueFactory = _ => 0 };
var format = new Option<VirtqueueFormat>("--format") { Description = "split or packed.", DefaultValueFactory = _ => VirtqueueFormat.Split };
var depth = new Option<int>("--queue-depth") { Description = "Requests under way in each queue.", DefaultValueFactory = _ => 1 };
var queueSize = new Option<int>("--queue-size") { Description = "Entries of each ring.", DefaultValueFactory = _ => 256 };
var queues = new Option<int>("--queues") { Description = "Request queues, all served by one thread.", DefaultValueFactory = _ => 1 };
var blockSize = new Option<int>("--block-size") { Description = "Bytes of one request.", DefaultValueFactory = _ => 4096 };
var pattern = new Option<Pattern>("--pattern") { Description = "rand or seq.", DefaultValueFactory = _ => Pattern.Rand };
var readPercent = new Option<int>("--read-percent") { Description = "How many of 100 requests are reads.", DefaultValueFactory = _ => 100 };
var seconds = new Option<double>("--seconds") { Description = "How long to measure.", DefaultValueFactory = _ => 5 };
var requests = new Option<long>("--requests") { Description = "Measure this many requests instead.", DefaultValueFactory = _ => 0 };
var rate = new Option<double>("--rate") { Description = "Send this many rounds a second only; 0 for as fast as they come back.", DefaultValueFactory = _ => 0 };
var warmUp = new Option<double>("--warm-up") { Description = "Seconds of load before that.", DefaultValueFactory = _ => 1 };
var poll = new Option<bool>("--poll") { Description = "Poll for results (the default)." };
var interrupt = new Option<bool>("--interrupt") { Description = "Sleep until the device interrupts." };
var verify = new Option<bool>("--verify") { Description = "Write patterns, and check them when they are read. Needs --read-percent below 100." };
var cpu = new Option<int>("--cpu") { Description = "The client's CPU; -1 for any.", DefaultValueFactory = _ => -1 };
var size = new Option<ulong>("--size-mib") { Description = "How much of the disk to use; 0 for all.", DefaultValueFactory = _ => 0 };
var indirect = new Option<bool>("--indirect") { Description = "Use indirect descriptors." };
var noEventIndex = new Option<bool>("--no-event-idx") { Description = "Do without EVENT_IDX." };
var huge = new Option<bool>("--huge-pages") { Description = "Put the client's memory on 2 MiB huge pages." };
var json = new Option<bool>("--json") { Description = "Report as JSON." };
var pingPong = new Option<string?>("--ping-pong") { Description = "Measure a cache line's round trip between two CPUs: 0,1. Alone, or before and after a load." };

var command = new RootCommand("Loads a vhost-user-blk or vhost-user-scsi server and reports rates and latencies.")
{
    socket, device, target, format, depth, queueSize, queues, blockSize, pattern, readPercent, seconds, requests, rate, warmUp, poll, interrupt, verify, cpu, size, indirect,
    noEventIndex, huge, json, pingPong,
};
command.SetAction(parsed =>
{
    var path = parsed.GetValue(socket);
    var cpus = ParseCpus(parsed.GetValue(pingPong));
    if (path is null && cpus is null)
    {
        return Fail("--socket or --ping-pong is needed");
    }

    if (parsed.GetValue(poll) && parsed.GetValue(interrupt))
    {
        return Fail("--poll and --interrupt exclude each other");
    }

    double? Measure() => cpus is { } pair ? Vhost.Bench.PingPong.Measure(pair.First, pair.Second) : null;
    try
    {
        var before = Measure();
        if (path is null)
        {
            Console.WriteLine(parsed.GetValue(json)
                ? JsonSerializer.Serialize(new { pingPongNanoseconds = before })
                : string.Create(CultureInfo.InvariantCulture, $"cache line round trip {before:0} ns"));
            return 0;
        }

        using var generator = new LoadGenerator(new LoadOptions
        {
            Socket = path,
            Device = parsed.GetValue(device),
            Target = parsed.GetValue(target),
            Format = parsed.GetValue(format),
            QueueDepth = parsed.GetValue(depth),
            QueueSize = parsed.GetValue(queueSize),
            QueueCount = parsed.GetValue(queues),
            BlockSizeBytes = parsed.GetValue(blockSize),
            Pattern = parsed.GetValue(pattern),
            ReadPercent = parsed.GetValue(readPercent),
            Seconds = parsed.GetValue(seconds),
            Requests = parsed.GetValue(requests),
            RatePerSecond = parsed.GetValue(rate),
            WarmUpSeconds = parsed.GetValue(warmUp),
            UsesInterrupts = parsed.GetValue(interrupt),
            Verifies = parsed.GetValue(verify),
            Cpu = parsed.GetValue(cpu),
            SizeBytes = parsed.GetValue(size) << 20,
            UsesIndirect = parsed.GetValue(indirect),
            UsesEventIndex = !parsed.GetValue(noEventIndex),
            HugePageSizeBytes = parsed.GetValue(huge) ? 2u << 20 : 0,
        });
        var result = OwnThread.Run(generator.Run);
        Report(result, generator.Disk, before, Measure(), parsed.GetValue(json));
        return 0;
    }
    catch (Exception exception) when (exception is FrontEndException or LinuxException or ArgumentException)
    {
        return Fail(exception.Message);
    }
});
return command.Parse(args).Invoke();

static int Fail(string reason)
{
    Console.Error.WriteLine($"vhost-bench: {reason}");
    return 1;
}

static (int First, int Second)? ParseCpus(string? text)
{
    if (text is null)
    {
        return null;
    }

    var parts = text.Split(',');
    return parts.Length == 2 && int.TryParse(parts[0], CultureInfo.InvariantCulture, out var first) && int.TryParse(parts[1], CultureInfo.InvariantCulture, out var second)
        ? (first, second)
        : throw new ArgumentException($"'{text}' is not two CPUs such as 0,1");
}

static void Report(LoadResult result, string disk, double? before, double? after, bool asJson)
{
    if (asJson)
    {
        Console.WriteLine(JsonSerializer.Serialize(
            new { result, disk, pingPongNanosecondsBefore = before, pingPongNanosecondsAfter = after },
            new JsonSerializerOptions { PropertyNamingPolicy = JsonNamingPolicy.CamelCase }));
        return;
    }

    var text = string.Create(
        CultureInfo.InvariantCulture,
        $"""
        disk       {disk}
        rate       {result.Iops / 1e3:0.0} k IOPS, {result.MegabytesPerSecond:0.0} MB/s ({result.Requests} requests, {result.Verified} verified)
        latency    mean {result.MeanMicroseconds:0.00} us, p50 {result.P50Microseconds:0.00}, p99 {result.P99Microseconds:0.00}, p99.9 {result.P999Microseconds:0.00}, max {result.MaxMicroseconds:0.0}
        signals    {result.Kicks} kicks, {result.Interrupts} interrupts
        client     {result.AllocatedBytes} bytes allocated, {result.Collections} collections
        """);
    Console.WriteLine(text);
    if (before is not null)
    {
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"ping-pong  {before:0} ns before, {after:0} ns after"));
    }
}
