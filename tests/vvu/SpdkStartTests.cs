using System.Diagnostics;
using System.Text;
using System.Text.Json.Nodes;
using Vhost.Testing.FrontEnd;

namespace Vhost.Vvu.Tests;

/// <summary>The start as SPDK's vhost, on a vvu device: both are the real programs, the device in a process of its own.</summary>
public sealed class SpdkStartTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(120);

    [Fact]
    public async Task A_second_controller_on_the_device_is_busy_until_the_first_is_deleted()
    {
        await using var harness = new VvuHarness(isProcess: true);
        var directory = Path.GetDirectoryName(harness.VfioUserSocket)!;
        var memory = Path.Combine(directory, "memory");
        File.CreateSymbolicLink(memory, $"/proc/{Environment.ProcessId}/fd/{harness.Memory.Regions[0].File.Raw}");
        using var vvuDevice = new Part(
            Path.Combine(AppContext.BaseDirectory, "vvu-device"), "ready:",
            "--vfio-user", harness.VfioUserSocket, "--vhost-user", harness.VhostUserSocket, "--memory", memory, "--memory-size", "16M");
        var rpc = Path.Combine(directory, "rpc.sock");
        using var vhostd = new Part(VhostdProcess.Program, "vhostd is ready", "-T", "vvu", "-S", harness.VfioUserSocket, "-r", rpc);

        await CallAsync(rpc, "construct_malloc_bdev", "num_blocks=2048", "block_size=512", "name=Malloc0");
        await CallAsync(rpc, "construct_vhost_scsi_controller", "ctrlr=vhost.0");
        await CallAsync(rpc, "add_vhost_scsi_lun", "ctrlr=vhost.0", "scsi_target_num=0", "bdev_name=Malloc0");
        foreach (var create in (string[][])[["construct_vhost_scsi_controller"], ["vhost_create_scsi_controller", "delay=true"], ["vhost_create_blk_controller", "dev_name=Malloc0"]])
        {
            var (code, _, error) = await RunAsync(rpc, [create[0], "ctrlr=vhost.1", .. create[1..]]);
            Assert.Equal(1, code);
            Assert.StartsWith("error: Device or resource busy (-32602): \"vhost.0\" occupies the one place", error, StringComparison.Ordinal);
        }

        // The first one is none the worse, and the place is free when it is gone.
        Assert.Equal(["vhost.0"], await ControllersAsync(rpc, harness.VfioUserSocket));
        using (var device = harness.Connect(isScsi: true))
        {
            var requests = new VirtioScsiRequests(device, 2, 4096);
            Assert.Equal(2048u, requests.BlockCount);
            requests.Data(0).Span.Fill(0x5a);
            Assert.True(requests.Execute(device.RequestQueue(0), 0, isWrite: true, 0, 4096), requests.DescribeResult(0));
            Assert.True(requests.Execute(device.RequestQueue(0), 1, isWrite: false, 0, 4096), requests.DescribeResult(1));
            Assert.Equal(-1, requests.Data(1).Span.IndexOfAnyExcept((byte)0x5a));
            await CallAsync(rpc, "remove_vhost_scsi_target", "ctrlr=vhost.0", "scsi_target_num=0");
            var (code, _, error) = await RunAsync(rpc, "remove_vhost_controller", "ctrlr=vhost.0");
            Assert.Equal(1, code);
            Assert.StartsWith("error: Device or resource busy (-32602)", error, StringComparison.Ordinal);
        }

        await VvuHarness.WaitForAsync(() => RunAsync(rpc, "remove_vhost_controller", "ctrlr=vhost.0").GetAwaiter().GetResult().Code == 0, "the other VM to have gone");
        await CallAsync(rpc, "construct_vhost_blk_controller", "ctrlr=vhost.1", "dev_name=Malloc0");
        Assert.Equal(["vhost.1"], await ControllersAsync(rpc, harness.VfioUserSocket));
        using (var device = harness.Connect(isScsi: false))
        {
            var requests = new VirtioBlkRequests(device, 1, 4096);
            Assert.True(requests.Execute(device.RequestQueue(0), 0, isWrite: false, 0, 4096), requests.DescribeResult(0));
            Assert.Equal(-1, requests.Data(0).Span.IndexOfAnyExcept((byte)0x5a));
        }

        Assert.Equal(0, vhostd.Stop());
        Assert.Equal(0, vvuDevice.Stop());
    }

    private static async Task<IEnumerable<string>> ControllersAsync(string rpc, string socket)
    {
        var controllers = (await CallAsync(rpc, "get_vhost_controllers"))!.AsArray();
        Assert.All(controllers, controller => Assert.Equal(socket, controller!["socket"]!.GetValue<string>()));
        return controllers.Select(controller => controller!["ctrlr"]!.GetValue<string>());
    }

    private static async Task<JsonNode?> CallAsync(string rpc, params string[] call)
    {
        var (code, output, error) = await RunAsync(rpc, call);
        Assert.True(code == 0, $"{call[0]}: {error}");
        return JsonNode.Parse(output);
    }

    private static async Task<(int Code, string Output, string Error)> RunAsync(string rpc, params string[] call)
    {
        using var process = Process.Start(new ProcessStartInfo(VhostdProcess.Program, ["rpc", "-s", rpc, .. call]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        using var limit = new CancellationTokenSource(Limit);
        var output = process.StandardOutput.ReadToEndAsync(limit.Token);
        var error = process.StandardError.ReadToEndAsync(limit.Token);
        await process.WaitForExitAsync(limit.Token);
        return (process.ExitCode, await output, await error);
    }

    /// <summary>A program that runs until the test ends.</summary>
    private sealed class Part : IDisposable
    {
        private readonly StringBuilder _log = new();
        private readonly Process _process;

        public Part(string program, string readyLine, params string[] arguments)
        {
            var isReady = new ManualResetEventSlim();
            _process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            DataReceivedEventHandler take = (_, line) =>
            {
                lock (_log)
                {
                    _log.AppendLine(line.Data);
                }

                if (line.Data?.Contains(readyLine, StringComparison.Ordinal) == true)
                {
                    isReady.Set();
                }
            };
            _process.OutputDataReceived += take;
            _process.ErrorDataReceived += take;
            _process.BeginOutputReadLine();
            _process.BeginErrorReadLine();
            Assert.True(isReady.Wait(Limit), $"{program} does not start:\n{_log}");
        }

        public int Stop()
        {
            using var kill = Process.Start("kill", $"-TERM {_process.Id}");
            Assert.True(_process.WaitForExit(Limit), $"it does not stop:\n{_log}");
            return _process.ExitCode;
        }

        public void Dispose()
        {
            if (!_process.HasExited)
            {
                _process.Kill();
                _process.WaitForExit();
            }

            _process.Dispose();
        }
    }
}
