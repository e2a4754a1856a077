using System.Diagnostics;
using Vhost.Abstractions;
using Vhost.ContractKit;
using Vhost.Plugins.Nvme;
using Vhost.Testing.DeviceModels.Nvme;

namespace Vhost.Nvme.Tests;

/// <summary>Controllers that come late, change, die and come back.</summary>
public sealed unsafe class LifeTests
{
    [Fact]
    public void Two_namespaces_are_two_bdevs_and_the_end_is_orderly()
    {
        using var harness = new NvmeHarness().Start();
        Assert.Equal(["Nvme0n1", "Nvme0n2"], harness.Bdevs.Bdevs.Keys.Order());
        var second = harness.Bdevs.Bdevs["Nvme0n2"].Info;
        Assert.Equal(4096u, second.BlockSizeBytes);
        Assert.Equal(4096ul, second.BlockCount);
        Assert.Equal("SN0001-2", second.SerialNumber);
        Assert.NotEqual(second.Uuid, harness.Bdevs.Bdev.Info.Uuid);
        Assert.Contains("MSI-X", harness.LogText, StringComparison.Ordinal);
        harness.Bdevs.Dispose();
        Assert.Equal(1, harness.Model.Counters.Shutdowns);
        Assert.DoesNotContain("did not confirm", harness.LogText, StringComparison.Ordinal);
        Assert.Empty(harness.Bdevs.Bdevs);
    }

    [Fact]
    public void Namespaces_come_change_and_go()
    {
        using var harness = new NvmeHarness().Start();
        harness.Model.Add(5, new NvmeModelNamespace(512, 1000));
        harness.Bdevs.TurnUntil(() => harness.Bdevs.Bdevs.ContainsKey("Nvme0n5"), "the new namespace");
        harness.Model.Resize(5, 500);
        harness.Bdevs.TurnUntil(() => harness.Bdevs.Bdevs["Nvme0n5"].Info.BlockCount == 500, "the resize");
        harness.Bdevs.TurnUntil(() => harness.Bdevs.Changes.Contains("Nvme0n5"), "the word of it");
        harness.Model.Remove(5);
        harness.Bdevs.TurnUntil(() => !harness.Bdevs.Bdevs.ContainsKey("Nvme0n5"), "the removal");
        Assert.Equal("Nvme0n5: the namespace is gone", Assert.Single(harness.Bdevs.Withdrawals));
        using var driver = harness.Bdevs.Open();
        Assert.Equal(BlockStatus.Success, driver.Run(BlockOperation.Flush));
    }

    [Fact]
    public void A_critical_warning_is_logged_once_readable_and_an_event_of_the_bdevs()
    {
        using var harness = new NvmeHarness().Start();
        harness.Model.Warn(4);
        harness.AwaitLog("reliability is degraded");
        harness.Model.Warn(4);
        harness.Bdevs.TurnUntil(() => ((IDetailSource)harness.Bdevs.Bdev).GetDetails()["critical_warning"] == "0x04", "the detail");
        Assert.Equal("27", ((IDetailSource)harness.Bdevs.Bdev).GetDetails()["temperature_celsius"]);
        harness.Bdevs.TurnUntil(() => harness.Bdevs.Bdevs.Values.All(bdev => bdev.Info.Warning == "reliability is degraded"), "the bdevs' warning");
        Assert.Contains("Nvme0n1", harness.Bdevs.Changes);
        Assert.All(harness.Bdevs.Bdevs.Values, bdev => Assert.Equal((7, 100, 27), (bdev.Info.LifeUsedPercent, bdev.Info.SpareLeftPercent, bdev.Info.TemperatureCelsius)));
        harness.Model.Warn(0);
        harness.Bdevs.TurnUntil(() => harness.Bdevs.Bdevs.Values.All(bdev => bdev.Info.Warning is null), "the end of the warning");
    }

    [Fact]
    public void A_controller_in_a_process_that_is_killed_comes_back_with_its_data()
    {
        var directory = Directory.CreateTempSubdirectory("vhost-").FullName;
        try
        {
            var socket = Path.Combine(directory, "nvme.sock");
            string[] namespaces = [$"512:32768:{directory}/1.img", $"4096:4096:{directory}/2.img"];
            var process = ModelProcess.Start(socket, namespaces);
            using var harness = new BdevHarness(new NvmeBdevFactory(), new NvmeOptions { Address = socket, TimeoutSeconds = 1, AttachTimeoutSeconds = 20 }, "Nvme0") { BdevName = "Nvme0n2", TurnsAllReactors = true };
            try
            {
                harness.Start();
                var data = new byte[16384];
                Random.Shared.NextBytes(data);
                using (var driver = harness.Open())
                {
                    Assert.Equal(BlockStatus.Success, driver.Write(3, data));
                    Assert.Equal(data, driver.Read(3, 4));
                    process.Kill();
                    harness.TurnUntil(() => harness.Bdevs.Count == 0, "the withdrawal");
                    Assert.Equal(BlockStatus.NoDevice, driver.Run(BlockOperation.Flush));
                }

                process.Dispose();
                process = ModelProcess.Start(socket, namespaces);
                harness.TurnUntil(() => harness.Bdevs.Count == 2, "the return");
                using var again = harness.Open();
                Assert.Equal(data, again.Read(3, 4));
            }
            finally
            {
                harness.Dispose();
                process.Dispose();
            }
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }
}

/// <summary>A model as a process of its own; it ends with its standard input.</summary>
internal sealed class ModelProcess : IDisposable
{
    private readonly Process _process;

    private ModelProcess(Process process) => _process = process;

    public static ModelProcess Start(string socket, string[] arguments)
    {
        var start = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "device-models"), ["nvme", socket, .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        start.Environment["DOTNET_ROOT"] = Path.GetFullPath(Path.Combine(System.Runtime.InteropServices.RuntimeEnvironment.GetRuntimeDirectory(), "../../.."));
        var process = Process.Start(start)!;
        Assert.Equal("ready", process.StandardOutput.ReadLine());
        return new ModelProcess(process);
    }

    public void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.StandardInput.Close();
            if (!_process.WaitForExit(5000))
            {
                Kill();
            }
        }

        _process.Dispose();
    }
}
