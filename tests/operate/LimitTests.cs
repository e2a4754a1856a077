using System.Diagnostics;

namespace Vhost.Operate.Tests;

/// <summary>Limits, and sessions that end under them.</summary>
public sealed class LimitTests
{
    /// <summary>A request a minute or so would come back by itself; what is left then is given up, which is an error in the log.</summary>
    [Theory]
    [InlineData("blk")]
    [InlineData("scsi")]
    public async Task What_a_limit_holds_back_keeps_no_session_from_ending(string device)
    {
        await using var vhostd = await Vhostd.StartAsync();
        await vhostd.RpcAsync("bdev_null_create", "name=N0", "num_blocks=131072", "block_size=512");
        if (device == "blk")
        {
            await vhostd.RpcAsync("vhost_create_blk_controller", "ctrlr=vhost.0", "dev_name=N0");
        }
        else
        {
            await vhostd.RpcAsync("vhost_create_scsi_controller", "ctrlr=vhost.0");
            await vhostd.RpcAsync("vhost_scsi_controller_add_target", "ctrlr=vhost.0", "scsi_target_num=0", "bdev_name=N0");
        }

        await vhostd.RpcAsync("bdev_set_qos_limit", "name=N0", "rw_ios_per_sec=1");
        for (var round = 0; round < 2; round++)
        {
            var start = new ProcessStartInfo(Vhostd.Program, ["bench", "vhost.0", "-s", vhostd.RpcSocket, "--seconds", "600", "--warm-up", "0", "--queue-depth", "32", "--interrupt", "--json"])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            };
            using var bench = Process.Start(start)!;
            try
            {
                await Vhostd.WaitForAsync(async () => await CountUnderWayAsync() >= 16, "requests that are held back");
            }
            finally
            {
                bench.Kill(entireProcessTree: true);
                await bench.WaitForExitAsync(TestContext.Current.CancellationToken);
            }

            await Vhostd.WaitForAsync(async () => await CountUnderWayAsync() < 0, "the end of the session");
        }

        Assert.DoesNotContain("given up", vhostd.Log, StringComparison.Ordinal);
        Assert.DoesNotContain("did not complete", vhostd.Log, StringComparison.Ordinal);
        await vhostd.RpcAsync("bdev_set_qos_limit", "name=N0", "rw_ios_per_sec=0");
        if (device == "scsi")
        {
            await vhostd.RpcAsync("vhost_scsi_controller_remove_target", "ctrlr=vhost.0", "scsi_target_num=0");
        }

        await vhostd.RpcAsync("vhost_delete_controller", "ctrlr=vhost.0");
        await vhostd.StopAsync();

        // The requests of the session, or -1 without one.
        async Task<int> CountUnderWayAsync() =>
            (await vhostd.RpcAsync("vhost_get_controllers"))![0]!["sessions"]!.AsArray() is { Count: > 0 } sessions ? sessions[0]!["inflight_task_cnt"]!.GetValue<int>() : -1;
    }
}
