namespace Vhost.Operate.Tests;

/// <summary>Metrics that are sent to an OpenTelemetry collector.</summary>
public sealed class OtlpTests
{
    [Theory]
    [InlineData("grpc")]
    [InlineData("http")]
    public async Task A_collector_gets_what_vhostd_counts_and_may_come_late_refuse_or_hang(string protocol)
    {
        var port = ObservabilityTests.FreePort();
        await using var vhostd = await Vhostd.StartAsync(
            "--otlp", $"http://127.0.0.1:{port}", "--set", $"observe.otlpProtocol={protocol}", "--set", "observe.otlpIntervalSeconds=1");
        await vhostd.AddNullDiskAsync();
        await Vhostd.WaitForAsync(() => Task.FromResult(Complaints(vhostd) == 1), "word of a collector that is not there");
        Assert.Contains($"127.0.0.1:{port}", vhostd.Log, StringComparison.Ordinal);
        Assert.Contains("guests are served as before", vhostd.Log, StringComparison.Ordinal);

        await using var collector = await OtlpCollector.StartAsync(port, protocol == "grpc", OtlpCollector.Answer.Error);
        await ObservabilityTests.BenchAsync(vhostd);
        var reads = (await vhostd.RpcAsync("vhostd_get_status"))!["bdevs"]![0]!["reads"]!.GetValue<long>();
        Assert.True(reads > 0);
        await Vhostd.WaitForAsync(() => Task.FromResult(collector.Requests >= 2), "requests after errors");

        collector.Mode = OtlpCollector.Answer.Accept;
        var metrics = await collector.WaitForAsync(
            batch => batch.Find("vhostd.bdev.operations", ("bdev", "N0"), ("operation", "read"))?.Value == reads && batch.Find("vhostd.healthy")?.Value == 1, "all reads, and health");
        Assert.Equal("vhostd", metrics.Resource["service.name"]);
        Assert.EndsWith($":{vhostd.ProcessId}", metrics.Resource["service.instance.id"], StringComparison.Ordinal);
        Assert.True(metrics.Find("vhostd.bdev.operations", ("bdev", "N0"), ("operation", "read"))!.IsCounter);
        Assert.Equal(0, metrics.Find("vhostd.bdev.operations", ("bdev", "N0"), ("operation", "write"))!.Value);
        Assert.Equal(reads, metrics.Find("vhostd.controller.operations", ("controller", "vhost.0"), ("operation", "read"))!.Value);
        var bytes = metrics.Find("vhostd.bdev.io", ("bdev", "N0"), ("operation", "read"))!;
        Assert.Equal((reads * 4096.0, "By"), (bytes.Value, bytes.Unit));
        Assert.True(metrics.Find("vhostd.bdev.operation.time", ("bdev", "N0"), ("operation", "read")) is { IsCounter: true, Unit: "s" });
        var size = metrics.Find("vhostd.bdev.size", ("bdev", "N0"))!;
        Assert.Equal((64 << 20, false), (size.Value, size.IsCounter));
        Assert.Equal(1, metrics.Find("vhostd.bdev.up", ("bdev", "N0"))!.Value);
        Assert.True(metrics.Find("vhostd.reactor.time", ("reactor", "0"), ("state", "busy")) is { IsCounter: true, Unit: "s", Value: > 0 });
        Assert.Contains(metrics.Points, point => point.Name.StartsWith("dotnet.gc.", StringComparison.Ordinal));
        Assert.Empty(collector.Faults);

        collector.Mode = OtlpCollector.Answer.Never;
        var before = collector.Requests;
        await Vhostd.WaitForAsync(() => Task.FromResult(collector.Requests > before), "a request that is not answered");
        await vhostd.RpcAsync("bdev_get_bdevs", "name=N0");

        // With a request under way that nobody answers. Of all failures the log has one line.
        await vhostd.StopAsync();
        Assert.Equal(1, Complaints(vhostd));
    }

    private static int Complaints(Vhostd vhostd) => vhostd.Log.Split('\n').Count(line => line.Contains("vhostd.observe[500]", StringComparison.Ordinal));
}
