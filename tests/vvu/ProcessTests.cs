using System.Diagnostics;
using Vhost.Testing.FrontEnd;

namespace Vhost.Vvu.Tests;

/// <summary>The executable: vvu-device in a process of its own.</summary>
public sealed class ProcessTests
{
    private static readonly TimeSpan WaitLimit = TimeSpan.FromSeconds(120);

    [Theory]
    [InlineData("capabilities")]
    [InlineData("fixed")]
    public async Task The_executable_serves_and_stops(string layout)
    {
        await using var harness = new VvuHarness(layout, isProcess: true);
        var file = Path.Combine(Path.GetDirectoryName(harness.VfioUserSocket)!, "memory");
        using (var started = new Started(Start(harness, layout, file)))
        {
            var process = started.Process;
            await harness.Transport.StartAsync(harness.Device, CancellationToken.None);
            Assert.Equal(16u << 20, Linux.FileStatus.Of(file).Size);
            using (var device = harness.Connect(isScsi: true))
            {
                var requests = new VirtioScsiRequests(device, 2, 4096);
                requests.Data(0).Span.Fill(0x77);
                Assert.True(requests.Execute(device.RequestQueue(0), 0, isWrite: true, 0, 4096), requests.DescribeResult(0));
                Assert.True(requests.Execute(device.RequestQueue(0), 1, isWrite: false, 0, 4096), requests.DescribeResult(1));
                Assert.Equal(-1, requests.Data(1).Span.IndexOfAnyExcept((byte)0x77));

                // Killed within a session: both sides notice, and the next one is found.
                process.Kill();
                await process.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(WaitLimit, TestContext.Current.CancellationToken);
                device.Connection.WaitClosed();
            }
        }

        using (var started = new Started(Start(harness, layout, file)))
        {
            var process = started.Process;
            await VvuHarness.WaitForAsync(() => harness.Transport.Status == "waiting for the other VM", "the transport to come back");
            using (var device = harness.Connect(isScsi: true))
            {
                Assert.Equal(16384u, new VirtioScsiRequests(device, 2, 4096).BlockCount);
            }

            using (var kill = Process.Start("kill", $"-TERM {process.Id}"))
            {
                await process.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(WaitLimit, TestContext.Current.CancellationToken);
            }

            Assert.Equal(0, process.ExitCode);
            Assert.False(File.Exists(harness.VfioUserSocket));
            Assert.False(File.Exists(harness.VhostUserSocket));
        }
    }

    [Theory]
    [InlineData("--memory /tmp/vvu-none --memory-size 12X", "is no size")]
    [InlineData("--memory-size 1M", "belong together")]
    [InlineData("--memory /dev/null/x --memory-size 1M", "/dev/null/x")]
    [InlineData("--memory /tmp/vvu-too-large --memory-size 64G", "the BAR has room for")]
    [InlineData("--layout other", "other")]
    public async Task Wrong_options_are_refused_with_the_reason(string options, string reason)
    {
        var directory = Directory.CreateTempSubdirectory("vvu");
        using var process = Run($"--vfio-user {directory.FullName}/a --vhost-user {directory.FullName}/b {options}");
        var error = await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken).WaitAsync(WaitLimit, TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.NotEqual(0, process.ExitCode);
        Assert.Contains(reason, error, StringComparison.Ordinal);
        Assert.Empty(directory.GetFileSystemInfos());
        directory.Delete();
    }

    private static Process Start(VvuHarness harness, string layout, string file)
    {
        // The memory of the other VM is made by this process: the file's name leads to it.
        if (!File.Exists(file))
        {
            File.CreateSymbolicLink(file, $"/proc/{Environment.ProcessId}/fd/{harness.Memory.Regions[0].File.Raw}");
        }

        var process = Run($"--vfio-user {harness.VfioUserSocket} --vhost-user {harness.VhostUserSocket} --memory {file} --memory-size 16M --layout {layout}");
        var line = process.StandardError.ReadLine();
        Assert.Contains("ready", line, StringComparison.Ordinal);
        return process;
    }

    private static Process Run(string arguments) => Process.Start(new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "vvu-device"), arguments)
    {
        RedirectStandardError = true, RedirectStandardOutput = true,
    })!;

    /// <summary>A process that does not outlive a failed test.</summary>
    private sealed class Started(Process process) : IDisposable
    {
        public Process Process => process;

        public void Dispose()
        {
            if (!process.HasExited)
            {
                process.Kill();
                process.WaitForExit(5000);
            }

            process.Dispose();
        }
    }
}
