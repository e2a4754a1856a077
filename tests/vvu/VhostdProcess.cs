using System.Collections.Concurrent;
using System.Diagnostics;
using System.Reflection;
using System.Text.Json.Nodes;

namespace Vhost.Vvu.Tests;

/// <summary>The real vhostd, as built, in a process of its own.</summary>
internal sealed class VhostdProcess : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(120);
    private readonly ConcurrentQueue<string> _lines = new();
    private readonly Process _process;

    private VhostdProcess(string manifest)
    {
        _process = Process.Start(new ProcessStartInfo(Program, ["run", manifest]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        _process.OutputDataReceived += (_, line) => _lines.Enqueue(line.Data ?? "");
        _process.ErrorDataReceived += (_, line) => _lines.Enqueue(line.Data ?? "");
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    /// <summary>The program.</summary>
    public static string Program { get; } = FindProgram();

    /// <summary>What it logged.</summary>
    public string Log => string.Join('\n', _lines);

    /// <summary>The process.</summary>
    public Process Process => _process;

    /// <summary>Starts it and waits until it is ready.</summary>
    /// <param name="directory">Where the manifest is put.</param>
    /// <param name="manifest">The manifest.</param>
    public static VhostdProcess Start(string directory, JsonObject manifest)
    {
        var path = Path.Combine(directory, "manifest.json");
        File.WriteAllText(path, manifest.ToJsonString());
        var vhostd = new VhostdProcess(path);
        vhostd.WaitForLine("vhostd is ready");
        return vhostd;
    }

    /// <summary>Waits for a line with a text.</summary>
    public void WaitForLine(string text)
    {
        var watch = Stopwatch.StartNew();
        while (!_lines.Any(line => line.Contains(text, StringComparison.Ordinal)))
        {
            Assert.True(!_process.HasExited && watch.Elapsed < Limit, $"vhostd does not say '{text}':\n{Log}");
            Thread.Sleep(5);
        }
    }

    /// <summary>SIGKILL.</summary>
    public void Kill()
    {
        _process.Kill();
        Assert.True(_process.WaitForExit(Limit));
    }

    /// <summary>SIGTERM, and the exit code.</summary>
    public int Stop()
    {
        using var kill = Process.Start("kill", $"-TERM {_process.Id}");
        Assert.True(_process.WaitForExit(Limit), $"vhostd does not stop:\n{Log}");
        return _process.ExitCode;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
            _process.WaitForExit(5000);
        }

        _process.Dispose();
    }

    private static string FindProgram() => Environment.GetEnvironmentVariable("VHOST_TEST_VHOSTD") is { Length: > 0 } directory
        ? Path.Combine(directory, "vhostd")
        : Assembly.GetExecutingAssembly().GetCustomAttributes<AssemblyMetadataAttribute>().Single(data => data.Key == "VhostdExecutable").Value!;
}
