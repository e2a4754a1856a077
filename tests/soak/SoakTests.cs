using System.Globalization;

namespace Vhost.Soak.Tests;

/// <summary>
/// Guests with verified disks, reconnects, hot-plugs, resizes, RPC, strangers and disks that fail, all at once and for long, from a seed that is printed.
/// <c>VHOST_SOAK_SECONDS</c> (default 300) and <c>VHOST_SOAK_SEED</c> change both; <c>scripts/soak.sh</c> runs it for days.
/// </summary>
public sealed class SoakTests
{
    private const long ResidentMarginKiB = 64 << 10;
    private const int ThreadMargin = 8;
    private static readonly TimeSpan SettleLimit = TimeSpan.FromSeconds(60);

    [Fact]
    public void Nothing_is_lost_and_nothing_grows()
    {
        var seconds = double.Parse(Environment.GetEnvironmentVariable("VHOST_SOAK_SECONDS") ?? "300", CultureInfo.InvariantCulture);
        var seed = int.Parse(Environment.GetEnvironmentVariable("VHOST_SOAK_SEED") ?? "20261", CultureInfo.InvariantCulture);
        Console.WriteLine($"soak: seed {seed}, {seconds} s");
        using var host = new SoakHost();
        var guests = new[]
        {
            new SoakGuest(new GuestDisk("scsi over memory", host.SocketOf(0), 0, false), seed),
            new SoakGuest(new GuestDisk("blk over memory", host.SocketOf(1), -1, false), seed + 1),
            new SoakGuest(new GuestDisk("blk over a slow disk", host.SocketOf(2), -1, false), seed + 2),
            new SoakGuest(new GuestDisk("blk over a failing disk", host.SocketOf(3), -1, true), seed + 3),
            new SoakGuest(new GuestDisk("scsi over a file", host.SocketOf(0), 1, false), seed + 4),
        };
        var disturbance = new Disturbance(host, seed + 5);

        // Code is compiled, pools are filled: what is there now is what there may be at the end.
        Run(TimeSpan.FromSeconds(Math.Min(20, seconds / 4)), host, guests, disturbance);
        disturbance.EachOnce();
        var before = Settle(host, null);
        Run(TimeSpan.FromSeconds(seconds), host, guests, disturbance);
        var after = Settle(host, before);
        foreach (var guest in guests)
        {
            guest.CheckAll();
            Console.WriteLine($"soak: {guest.Disk.Name}: {guest.Requests} requests, {guest.VerifiedBytes >> 20} MiB verified, {guest.Failures} failed on purpose, {guest.Connections} connections");
            Assert.True(guest.Requests > 0 && guest.VerifiedBytes > 0, guest.Disk.Name);
            Assert.Equal(guest.Disk.MayFail, guest.Failures > 0);
        }

        Console.WriteLine($"soak: {disturbance.RpcCalls} RPC calls, {disturbance.HotPlugs} hot-plugs, {disturbance.Resizes} resizes, {disturbance.Strangers} strangers");
        Console.WriteLine($"soak: before {before}, after {after}");
        Assert.True(before.Descriptors == after.Descriptors, $"{before.Descriptors} descriptors have become {after.Descriptors}: {string.Join(", ", host.Descriptors().Order(StringComparer.Ordinal))}");
        Assert.InRange(after.Threads, 0, before.Threads + ThreadMargin);
        Assert.InRange(after.ResidentKiB, 0, before.ResidentKiB + ResidentMarginKiB);
        Assert.True(disturbance.RpcCalls > 0 && disturbance.HotPlugs > 0 && disturbance.Resizes > 0 && disturbance.Strangers > 0);
        Assert.Equal(0, host.Stop());
        Assert.DoesNotContain("fault of this program", host.Log, StringComparison.Ordinal);
    }

    private static void Run(TimeSpan time, SoakHost host, IReadOnlyList<SoakGuest> guests, Disturbance disturbance)
    {
        using var ending = new CancellationTokenSource(time);
        var failures = new List<Exception>();
        // The two guests of the scsi controller take turns: a controller has one front-end at a time.
        var threads = guests.GroupBy(guest => guest.Disk.Socket)
            .Select(group => (Action)(() => TakeTurns([.. group], ending.Token)))
            .Append(() => disturbance.Run(ending.Token))
            .Select(action => new Thread(() => Watch(action, failures, ending)))
            .ToList();
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());
        Assert.True(failures.Count == 0, $"{string.Join('\n', failures)}\n{(host.IsRunning ? "vhostd runs" : "vhostd has ended")}; its log:\n{Tail(host.Log)}");
    }

    private static void TakeTurns(SoakGuest[] guests, CancellationToken ending)
    {
        for (var turn = 0; !ending.IsCancellationRequested; turn++)
        {
            using var end = CancellationTokenSource.CreateLinkedTokenSource(ending);
            if (guests.Length > 1)
            {
                end.CancelAfter(TimeSpan.FromSeconds(3));
            }

            guests[turn % guests.Length].Run(end.Token);
        }
    }

    private static void Watch(Action action, List<Exception> failures, CancellationTokenSource ending)
    {
        try
        {
            action();
        }
        catch (Exception exception)
        {
            lock (failures)
            {
                failures.Add(exception);
            }

            ending.Cancel();
        }
    }

    /// <summary>Waits until sessions have ended and idle threads are gone.</summary>
    private static Holdings Settle(SoakHost host, Holdings? wanted)
    {
        var end = Environment.TickCount64 + (long)SettleLimit.TotalMilliseconds;
        var last = host.Measure();
        for (var same = 0; Environment.TickCount64 < end; last = host.Measure())
        {
            Thread.Sleep(500);
            var now = host.Measure();
            same = now.Descriptors == last.Descriptors ? same + 1 : 0;
            if (same >= 10 && (wanted is null || (now.Descriptors == wanted.Descriptors && now.Threads <= wanted.Threads)))
            {
                return now;
            }
        }

        return last;
    }

    private static string Tail(string log) => string.Join('\n', log.Split('\n').TakeLast(60));
}
