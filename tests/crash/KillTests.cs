using System.Globalization;
using Vhost.Abstractions;

namespace Vhost.Crash.Tests;

/// <summary>vhostd is ended by SIGKILL under load, again and again.</summary>
public sealed class KillTests
{
    private const int Places = 2048;

    [Fact]
    public Task No_byte_is_lost_or_written_out_of_order_however_often_vhostd_is_killed() => KillAsync(20, static _ => TestEnvironment.VhostdDirectory);

    /// <summary>Each build finds what the other one left: the newer one at an upgrade, the older one when that is taken back.</summary>
    [Fact]
    public Task Another_build_takes_over_what_the_killed_one_had_under_way()
    {
        Builds.AssertDiffer(TestEnvironment.VhostdDirectory, TestEnvironment.NextVhostdDirectory);
        return KillAsync(8, static start => start % 2 == 0 ? TestEnvironment.VhostdDirectory : TestEnvironment.NextVhostdDirectory);
    }

    /// <summary>kills vhostd and starts it again, under load.</summary>
    /// <param name="kills">How often.</param>
    /// <param name="build">The build to start for the nth time.</param>
    private static async Task KillAsync(int kills, Func<int, string> build)
    {
        int seed = TestSeed.Get();
        TestContext.Current.TestOutputHelper!.WriteLine($"seed {seed}");
        var random = new Random(seed);
        GuestKind[] kinds =
        [
            new("blk split", false, VirtqueueFormat.Split, 16, seed + 1), new("blk packed", false, VirtqueueFormat.Packed, 16, seed + 2),
            new("scsi split", true, VirtqueueFormat.Split, 12, seed + 3), new("scsi packed", true, VirtqueueFormat.Packed, 12, seed + 4),
            new("blk split, one at a time", false, VirtqueueFormat.Split, 1, seed + 5), new("scsi packed, three", true, VirtqueueFormat.Packed, 3, seed + 6),
        ];
        await using var scenario = new Scenario();
        await scenario.WatchAsync(async () =>
        {
            var builder = new ManifestBuilder();
            for (int i = 0; i < kinds.Length; i++)
            {
                builder.File($"File{i}", Disk.Create(scenario.FilePath($"disk{i}.img"), Places * Guest.BlockBytes >> 20));
                _ = kinds[i].IsScsi ? builder.Scsi($"vhost.{i}", Socket(i), $"File{i}") : builder.Blk($"vhost.{i}", Socket(i), $"File{i}");
            }

            var manifest = builder.Build();
            VhostdProcess vhostd = await VhostdProcess.StartAsync(scenario, build(0), manifest);
            Guest[] guests = [.. kinds.Select((kind, i) => new Guest(kind, Socket(i), Places))];
            Task[] lives = [.. guests.Select(guest => Task.Factory.StartNew(guest.Run, TaskCreationOptions.LongRunning))];
            try
            {
                for (int kill = 0; kill < kills; kill++)
                {
                    // Killed before, while and after the guests come back, and with work done in between.
                    long[] before = [.. guests.Select(guest => guest.Completed)];
                    int wanted = random.Next(3) == 0 ? 0 : random.Next(1, 60);
                    await Deadline.UntilAsync($"work between two kills (seed {seed})", TimeSpan.FromSeconds(90), () =>
                        lives.Any(life => life.IsFaulted) || Enumerable.Range(0, guests.Length).All(i => guests[i].Completed - before[i] >= wanted));
                    await Task.WhenAll(lives.Where(life => life.IsFaulted));
                    await Task.Delay(random.Next(40));
                    vhostd.Kill();
                    vhostd = await VhostdProcess.StartAsync(scenario, build(kill + 1), manifest);
                    Array.ForEach(guests, guest => guest.Reconnect());
                }

                foreach (Guest guest in guests)
                {
                    guest.Stop();
                }

                await Task.WhenAll(lives).WaitAsync(TimeSpan.FromSeconds(180));
                TestContext.Current.TestOutputHelper.WriteLine(string.Create(
                    CultureInfo.InvariantCulture,
                    $"{kills} kills of 6 sessions, {guests.Sum(guest => guest.Completed)} requests, {guests.Sum(guest => guest.BytesVerified) >> 20} MiB verified"));
            }
            finally
            {
                Array.ForEach(guests, guest => guest.Abandon());
                foreach (Task life in lives)
                {
                    await life.ContinueWith(static task => task.Exception, TaskScheduler.Default).WaitAsync(TimeSpan.FromSeconds(180));
                }

                Array.ForEach(guests, guest => guest.Dispose());
            }
        });

        string Socket(int i) => scenario.FilePath($"{i}.sock");
    }
}
