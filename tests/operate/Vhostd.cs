using System.Diagnostics;
using System.Reflection;
using System.Text;
using System.Text.Json.Nodes;

namespace Vhost.Operate.Tests;

/// <summary>A running vhostd, the real program, in a directory of its own.</summary>
internal sealed class Vhostd : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(120);

    private readonly Process _process;
    private readonly StringBuilder _log = new();

    private Vhostd(string directory, Process process)
    {
        Directory = directory;
        _process = process;
        process.ErrorDataReceived += (_, line) =>
        {
            lock (_log)
            {
                _log.AppendLine(line.Data);
            }
        };
        process.BeginErrorReadLine();
    }

    public static string RepositoryRoot { get; } = Metadata("RepositoryRoot");

    public static string ProgramDirectory { get; } = Environment.GetEnvironmentVariable("VHOST_TEST_VHOSTD") ?? Metadata("VhostdDirectory");

    public static string Program { get; } = Path.Combine(ProgramDirectory, "vhostd");

    /// <summary>The first CPU that this process may use, as a mask.</summary>
    public static string Cpumask { get; } = FirstCpu();

    public string Directory { get; }

    public string RpcSocket => Path.Combine(Directory, "rpc.sock");

    /// <summary>The lines on standard output until it was ready.</summary>
    public List<string> Output { get; } = [];

    public int ProcessId => _process.Id;

    public string Log
    {
        get
        {
            lock (_log)
            {
                return _log.ToString();
            }
        }
    }

    public static string NewDirectory() => System.IO.Directory.CreateTempSubdirectory("vhostd-ops-").FullName;

    /// <summary>Starts it as SPDK's vhost is started.</summary>
    public static Task<Vhostd> StartAsync(params string[] more) => StartInAsync(NewDirectory(), null, more);

    public static async Task<Vhostd> StartInAsync(string directory, IReadOnlyDictionary<string, string>? environment, params string[] more)
    {
        string[] arguments = ["-S", directory, "-m", Cpumask, "-r", Path.Combine(directory, "rpc.sock"), .. more];
        var start = new ProcessStartInfo(Program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var (key, value) in environment ?? new Dictionary<string, string>())
        {
            start.Environment[key] = value;
        }

        var vhostd = new Vhostd(directory, Process.Start(start)!);
        using var limit = new CancellationTokenSource(Limit);
        while (true)
        {
            var line = await vhostd._process.StandardOutput.ReadLineAsync(limit.Token);
            Assert.True(line is not null, $"vhostd ended: {vhostd.Log}");
            vhostd.Output.Add(line);
            if (line.StartsWith("vhostd is ready", StringComparison.Ordinal))
            {
                return vhostd;
            }
        }
    }

    /// <summary>Calls a method, which has to succeed.</summary>
    public async Task<JsonNode?> RpcAsync(string method, params string[] parameters)
    {
        var (code, output, error) = await RunAsync(["rpc", "-s", RpcSocket, method, .. parameters]);
        Assert.True(code == 0, $"{method}: {error}");
        return JsonNode.Parse(output);
    }

    /// <summary>A null bdev N0 of 64 MiB behind a blk controller vhost.0.</summary>
    public async Task<string> AddNullDiskAsync()
    {
        await RpcAsync("bdev_null_create", "name=N0", "num_blocks=131072", "block_size=512");
        await RpcAsync("vhost_create_blk_controller", "ctrlr=vhost.0", "dev_name=N0");
        return Path.Combine(Directory, "vhost.0");
    }

    /// <summary>Starts a load on a controller that goes on until it is disposed of.</summary>
    public Load StartBench(string controller, params string[] more) =>
        new(Process.Start(new ProcessStartInfo(Program, ["bench", controller, "-s", RpcSocket, "--seconds", "3600", "--json", .. more]) { RedirectStandardOutput = true })!);

    /// <summary>Runs vhostd with a command.</summary>
    public static Task<(int Code, string Output, string Error)> RunAsync(params string[] arguments) => RunProgramAsync(Program, arguments);

    public static async Task<(int Code, string Output, string Error)> RunProgramAsync(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        using var limit = new CancellationTokenSource(Limit);
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

    /// <summary>Waits for what comes by itself.</summary>
    public static async Task WaitForAsync(Func<Task<bool>> condition, string what)
    {
        var start = Stopwatch.GetTimestamp();
        while (!await condition())
        {
            Assert.True(Stopwatch.GetElapsedTime(start) < Limit, $"never came: {what}");
            await Task.Delay(50);
        }
    }

    /// <summary>Stops it by SIGTERM and checks that it stops in order.</summary>
    public async Task StopAsync()
    {
        using var kill = Process.Start("kill", ["-TERM", $"{_process.Id}"]);
        using var limit = new CancellationTokenSource(Limit);
        await _process.WaitForExitAsync(limit.Token);
        Assert.True(_process.ExitCode == 0, $"exit code {_process.ExitCode}: {Log}");
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
            await _process.WaitForExitAsync();
        }

        _process.Dispose();
        System.IO.Directory.Delete(Directory, recursive: true);
    }

    private static string Metadata(string key) =>
        typeof(Vhostd).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(attribute => attribute.Key == key).Value!;

    private static string FirstCpu()
    {
        var list = File.ReadLines("/proc/self/status").Single(line => line.StartsWith("Cpus_allowed_list:", StringComparison.Ordinal)).Split('\t')[1];
        return $"[{list.Split(',', '-')[0]}]";
    }

    /// <summary>A load that runs.</summary>
    internal sealed class Load(Process process) : IAsyncDisposable
    {
        private bool _isDisposed;

        public async ValueTask DisposeAsync()
        {
            if (!_isDisposed)
            {
                _isDisposed = true;
                var hasEnded = process.HasExited;
                // The command runs a program of its own.
                process.Kill(entireProcessTree: true);
                await process.WaitForExitAsync();
                process.Dispose();
                Assert.False(hasEnded, "the load ended by itself");
            }
        }
    }
}
