using System.Diagnostics;
using Vhost.Abstractions;
using Vhost.Testing.DeviceModels.Nvme;

namespace Vhost.Nvme.Tests;

/// <summary>Prints what the driver adds to the device's own time; asserts nothing about time.</summary>
public sealed unsafe class LatencyTests
{
    [Fact]
    public void Added_latency_of_a_4_KiB_read_at_depth_1()
    {
        const int Count = 100_000;
        var settings = new NvmeSettings { Spins = true };
        using var harness = new NvmeHarness(settings).Start();
        harness.AnnounceGuest();
        using var driver = harness.Bdevs.Open(queueDepth: 1);
        var reactor = harness.Bdevs.Reactors[0];
        reactor.ArmsIdlePollers = false;
        driver.AllowsAnyThread = true;
        var total = new double[Count];
        var added = new double[Count];
        var submitting = new double[Count];
        for (var i = -20_000; i < Count; i++)
        {
            driver.Add(0, BlockOperation.Read, (ulong)(i & 1023) * 8, 8, harness.Guest + ((i & 255) * 4096), 4096);
            var start = Stopwatch.GetTimestamp();
            driver.SubmitRaw();
            var submitted = Stopwatch.GetTimestamp();
            while (driver.OutstandingCount > 0)
            {
                reactor.Turn();
            }

            var ticks = Stopwatch.GetTimestamp() - start;
            if (i >= 0)
            {
                total[i] = Nanoseconds(ticks);
                added[i] = Nanoseconds(ticks - harness.Model.Counters.LastServiceTicks);
                submitting[i] = Nanoseconds(submitted - start);
            }
        }

        Assert.Equal(0, harness.Bounced);
        Assert.Equal(0, harness.Model.Counters.Violations);
        TestContext.Current.SendDiagnosticMessage($"4 KiB read, depth 1, {Count} requests, ns (median / 90 %):");
        Print("whole", total);
        Print("beyond the model's own time", added);
        Print("of that, until the doorbell is written", submitting);
    }

    private static double Nanoseconds(long ticks) => ticks * 1e9 / Stopwatch.Frequency;

    private static void Print(string what, double[] values)
    {
        Array.Sort(values);
        var line = $"{what}: {values[values.Length / 2]:0} / {values[values.Length * 9 / 10]:0}";
        Console.WriteLine(line);
        TestContext.Current.TestOutputHelper?.WriteLine(line);
    }
}
