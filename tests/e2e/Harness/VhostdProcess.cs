using System.Diagnostics;
using System.Text.Json.Nodes;

namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>The published vhostd, run on a manifest.</summary>
internal sealed class VhostdProcess : IAsyncDisposable, IDiagnosable
{
    private static readonly TimeSpan StartTimeout = TimeSpan.FromSeconds(120);

    private readonly ChildProcess _process;

    private VhostdProcess(ChildProcess process) => _process = process;

    /// <summary>The process id.</summary>
    public int Id => _process.Id;

    /// <summary>Whether vhostd has ended.</summary>
    public bool HasExited => _process.HasExited;

    /// <summary>What vhostd logged so far.</summary>
    public string Log => _process.StandardOutput + _process.StandardError;

    /// <summary>Starts vhostd in a scenario and waits until it says that it is ready; then every socket of the manifest has to be there.</summary>
    public static Task<VhostdProcess> StartAsync(Scenario scenario, JsonObject manifest, params string[] arguments) =>
        StartAsync(scenario, manifest.ToJsonString(), arguments);

    /// <summary>The same with another build of vhostd, published in a directory.</summary>
    public static Task<VhostdProcess> StartAsync(Scenario scenario, string directory, JsonObject manifest) => LaunchAsync(scenario, directory, manifest.ToJsonString(), []);

    /// <summary>The same with the text of a manifest.</summary>
    public static Task<VhostdProcess> StartAsync(Scenario scenario, string manifest, params string[] arguments) =>
        LaunchAsync(scenario, TestEnvironment.VhostdDirectory, manifest, arguments);

    /// <summary>Sends SIGTERM and returns the exit code; throws when vhostd is still there after the time it is allowed.</summary>
    public int Stop(TimeSpan timeout)
    {
        long start = Stopwatch.GetTimestamp();
        _process.Terminate();
        return _process.WaitForExit(timeout)
            ? _process.ExitCode
            : throw new EndToEndException($"vhostd did not stop within {Stopwatch.GetElapsedTime(start).TotalSeconds:F1} s of SIGTERM");
    }

    /// <summary>Waits for vhostd to end by itself and returns the exit code.</summary>
    public int WaitForExit(TimeSpan timeout) => _process.WaitForExit(timeout)
        ? _process.ExitCode
        : throw new EndToEndException($"vhostd did not end within {timeout.TotalSeconds:F0} s");

    /// <summary>Ends vhostd with SIGKILL, as a crash would.</summary>
    public void Kill() => _process.Kill();

    /// <inheritdoc/>
    public string Diagnose() => _process.Diagnose();

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        _process.Dispose();
        return ValueTask.CompletedTask;
    }

    private static async Task<VhostdProcess> LaunchAsync(Scenario scenario, string directory, string manifest, string[] arguments)
    {
        string file = scenario.FilePath("manifest.json");
        await File.WriteAllTextAsync(file, manifest);
        VhostdProcess vhostd = scenario.Add(new VhostdProcess(
            ChildProcess.Start("vhostd", Path.Combine(directory, "vhostd"), ["run", file, .. arguments])));
        await Deadline.UntilAsync(
            "vhostd is ready",
            StartTimeout,
            () => vhostd._process.StandardOutput.Contains("vhostd is ready", StringComparison.Ordinal)
                || (vhostd._process.HasExited ? throw new EndToEndException($"vhostd ended with exit code {vhostd._process.ExitCode} instead of serving") : false));
        Assert.All(SocketsOf(JsonNode.Parse(manifest)!.AsObject()), s => Assert.True(File.Exists(s), $"{s} is not there although vhostd is ready"));
        return vhostd;
    }

    private static IEnumerable<string> SocketsOf(JsonObject manifest) =>
        manifest["transports"]!.AsObject().Select(t => (string?)t.Value!["socket"]).OfType<string>();
}
