using Vhost.Abstractions;

namespace Vhost.Crash.Tests;

/// <summary>vhostd is ended by SIGKILL under load, again and again.</summary>
[Collection(nameof(KillTests))]
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

            await KillRun.RunAsync(scenario, kinds, Socket, Places, builder.Build(), kills, build, seed);
        });

        string Socket(int i) => scenario.FilePath($"{i}.sock");
    }
}
