using System.Diagnostics;
using System.Text.Json.Nodes;

namespace Vhost.Rpc.Tests;

/// <summary>The real executable, its command line, and a client in another language.</summary>
public sealed class ProgramTests
{
    [Fact]
    public async Task The_program_serves_its_own_command_line_and_a_Python_client()
    {
        var directory = RunningHost.NewDirectory();
        var manifest = Path.Combine(directory, "vhostd.json");
        var socket = Path.Combine(directory, "rpc.sock");
        await File.WriteAllTextAsync(manifest, new JsonObject
        {
            ["rpc"] = new JsonObject { ["defaultTransport"] = new JsonObject { ["type"] = "vhost-user", ["socket"] = $"{directory}/{{controller}}" } },
        }.ToJsonString(), TestContext.Current.CancellationToken);
        using var vhostd = Start("vhostd", "run", manifest, "--rpc-socket", socket);
        try
        {
            var ready = await vhostd.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken).AsTask().WaitAsync(TimeSpan.FromSeconds(120), TestContext.Current.CancellationToken);
            Assert.StartsWith("vhostd is ready", ready, StringComparison.Ordinal);
            foreach (var thread in Directory.GetDirectories($"/proc/{vhostd.Id}/task"))
            {
                var status = File.ReadLines(Path.Combine(thread, "status")).ToList();
                Assert.Contains("Seccomp:\t2", status);
                Assert.Contains("NoNewPrivs:\t1", status);
            }

            Assert.Equal((0, "\"Malloc0\"\n", ""), await RunAsync("vhostd", "rpc", "-s", socket, "bdev_malloc_create", "num_blocks=131072", "block_size=512"));
            Assert.Equal((0, "true\n", ""), await RunAsync("vhostd", "rpc", "-s", socket, "vhost_create_scsi_controller", "ctrlr=vhost.1"));
            Assert.Equal((0, "0\n", ""), await RunAsync("vhostd", "rpc", "-s", socket, "vhost_scsi_controller_add_target", "ctrlr=vhost.1", "scsi_target_num=-1", "bdev_name=Malloc0"));
            var (code, tree, _) = await RunAsync("vhostd", "status", "-s", socket);
            Assert.Equal(0, code);
            Assert.Contains($"├─ vhost-user {directory}/vhost.1: listening\n│  └─ scsi controller vhost.1\n│     └─ targets.0: Malloc0, Malloc disk, 64 MiB,", tree, StringComparison.Ordinal);
            var json = JsonNode.Parse((await RunAsync("vhostd", "status", "-s", socket, "--json")).Output)!;
            Assert.Equal("vhost.1", json["controllers"]![0]!["name"]!.GetValue<string>());

            var (failure, _, error) = await RunAsync("vhostd", "rpc", "-s", socket, "vhost_delete_controller", "ctrlr=vhost.1");
            Assert.Equal(1, failure);
            Assert.StartsWith("error: Device or resource busy (-32602): ", error, StringComparison.Ordinal);
            foreach (var wrong in new string[][] { ["rpc", "nosuch"], ["rpc", "bdev_get_bdevs", "nam=x"], ["rpc", "bdev_malloc_create", "num_blocks=x"], ["rpc", "bdev_malloc_delete"], ["rpc"] })
            {
                Assert.Equal(2, (await RunAsync("vhostd", wrong)).Code);
            }

            Assert.Equal(1, (await RunAsync("vhostd", "rpc", "-s", Path.Combine(directory, "none"), "bdev_get_bdevs")).Code);
            await RunAsync("vhostd", "rpc", "-s", socket, "delete_bdev", "name=Malloc0");
            await RunAsync("vhostd", "rpc", "-s", socket, "vhost_delete_controller", "ctrlr=vhost.1");

            var disk = Path.Combine(directory, "disk.img");
            await File.WriteAllBytesAsync(disk, new byte[4 << 20], TestContext.Current.CancellationToken);
            var mask = $"0x{1L << json["reactors"]![0]!["cpu"]!.GetValue<int>():x}";
            Assert.Equal(
                (0, "all calls are answered as SPDK answers them\n", ""),
                await RunAsync("python3", Path.Combine(AppContext.BaseDirectory, "fixtures/nine_calls.py"), socket, disk, mask));

            // The manifest changes, and a signal or a command makes the running state match it.
            var changed = JsonNode.Parse(await File.ReadAllTextAsync(manifest, TestContext.Current.CancellationToken))!.AsObject();
            changed["bdevs"] = new JsonObject { ["Later"] = new JsonObject { ["type"] = "null", ["sizeMiB"] = 1 } };
            await File.WriteAllTextAsync(manifest, changed.ToJsonString(), TestContext.Current.CancellationToken);
            Assert.Equal(0, (await RunAsync("kill", "-HUP", $"{vhostd.Id}")).Code);
            for (var end = Stopwatch.StartNew(); (await RunAsync("vhostd", "rpc", "-s", socket, "bdev_get_bdevs", "name=Later")).Code != 0;)
            {
                Assert.True(end.Elapsed < TimeSpan.FromSeconds(120), "the signal has no effect");
            }

            Assert.Equal((0, "nothing to do: the running state matches the manifest\n", ""), await WithoutWarningsAsync("apply", manifest, "-s", socket));
            changed["bdevs"]!["Later"]!["sizeMiB"] = 3;
            await File.WriteAllTextAsync(manifest, changed.ToJsonString(), TestContext.Current.CancellationToken);
            Assert.Equal((0, "would change bdev Later\n", ""), await WithoutWarningsAsync("apply", manifest, "-s", socket, "--check"));
            Assert.Equal((0, "change bdev Later\n", ""), await WithoutWarningsAsync("apply", manifest, "-s", socket));
            await File.WriteAllTextAsync(manifest, "{ nonsense", TestContext.Current.CancellationToken);
            Assert.Equal(2, (await RunAsync("vhostd", "apply", manifest, "-s", socket)).Code);

            Assert.Equal((0, "true\n", ""), await RunAsync("vhostd", "rpc", "-s", socket, "kill_instance", "sig_name=SIGTERM"));
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(120));
            await vhostd.WaitForExitAsync(limit.Token);
            Assert.Equal(0, vhostd.ExitCode);
            Assert.False(File.Exists(socket));
        }
        finally
        {
            if (!vhostd.HasExited)
            {
                vhostd.Kill();
            }

            Directory.Delete(directory, recursive: true);
        }
    }

    /// <summary>A manifest without controllers is warned of; that is not what is tested.</summary>
    private static async Task<(int Code, string Output, string Error)> WithoutWarningsAsync(params string[] arguments)
    {
        var (code, output, error) = await RunAsync("vhostd", arguments);
        return (code, output, string.Concat(error.Split('\n').Where(line => line.Length > 0 && !line.StartsWith("warning: ", StringComparison.Ordinal))));
    }

    private static Process Start(string program, params string[] arguments)
    {
        var file = program == "vhostd" ? Path.Combine(RunningHost.VhostdDirectory, "vhostd") : program;
        return Process.Start(new ProcessStartInfo(file, arguments) { RedirectStandardOutput = true, RedirectStandardError = program != "vhostd" || arguments[0] != "run" })!;
    }

    private static async Task<(int Code, string Output, string Error)> RunAsync(string program, params string[] arguments)
    {
        using var process = Start(program, arguments);
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(120));
        var output = process.StandardOutput.ReadToEndAsync(limit.Token);
        var error = process.StandardError.ReadToEndAsync(limit.Token);
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill();
            throw;
        }

        return (process.ExitCode, await output, await error);
    }
}
