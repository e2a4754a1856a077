using System.Diagnostics;
using Vhost.Host.Reactors;

namespace Vhost.Host.Tests;

/// <summary>For how long a reactor has not turned.</summary>
public sealed class WatchdogTests
{
    private readonly TestLog _log = new();

    [Fact]
    public async Task The_watchdog_counts_no_time_in_which_it_did_not_run_itself()
    {
        // The watchdog's own thread looks every quarter of an hour: the test looks instead of it.
        var hour = Stopwatch.Frequency * 3600;
        var tuning = new ReactorTuning { StuckAfter = TimeSpan.FromHours(1) };
        var reason = "";
        await using var reactor = await TestReactor.StartAsync(_log, tuning: tuning);
        using var release = new ManualResetEventSlim();
        using var isHeld = new ManualResetEventSlim();
        reactor.Post(
            _ =>
            {
                isHeld.Set();
                release.Wait();
            },
            null);
        isHeld.Wait(TestContext.Current.CancellationToken);
        try
        {
            var now = Stopwatch.GetTimestamp();
            using var watchdog = new ReactorWatchdog([reactor], _log, TimeSpan.FromHours(3), text => reason = text);

            // The first look finds a reactor that it has not seen before. Then the machine stands still for a day.
            watchdog.LookAtAll(now += hour / 4);
            watchdog.LookAtAll(now += 24 * hour);
            Assert.Equal(ReactorHealthState.Healthy, reactor.Health.State);

            // It goes on, and the reactor does not.
            for (var look = 0; look < 3; look++)
            {
                watchdog.LookAtAll(now += hour / 4);
            }

            Assert.Equal(ReactorHealthState.Stuck, reactor.Health.State);
            watchdog.LookAtAll(now += 24 * hour);
            Assert.Equal("", reason);
            for (var look = 0; look < 8; look++)
            {
                watchdog.LookAtAll(now += hour / 4);
            }

            Assert.Contains("has not returned from message", reason, StringComparison.Ordinal);
        }
        finally
        {
            release.Set();
        }
    }
}
