using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Text;

namespace Vhost.Soak.Tests;

/// <summary>What a process has.</summary>
/// <param name="ResidentKiB">Resident memory.</param>
/// <param name="Descriptors">Open files and sockets, but for assemblies and their symbols: the runtime opens those when it first needs them.</param>
/// <param name="Threads">Threads.</param>
internal sealed record Holdings(long ResidentKiB, int Descriptors, int Threads);

/// <summary>The real vhostd, with a scsi controller and three of blk, over memory, a file, a slow disk and one that fails.</summary>
internal sealed class SoakHost : IDisposable
{
    /// <summary>The scsi controller.</summary>
    public const string ScsiController = "vhost.0";

    /// <summary>Controllers that there are.</summary>
    public const int ControllerCount = 4;

    /// <summary>Length of the file of the disk that changes its size, without what comes and goes.</summary>
    public const long FileBytes = 32 << 20;

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(120);

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("vhostd-soak-");
    private readonly Process _process;
    private readonly StringBuilder _log = new();

    public SoakHost()
    {
        var manifest = Path.Combine(_directory.FullName, "soak.json");
        File.WriteAllText(manifest, $$"""
            {
              "bdevs": {
                "Malloc0": { "type": "malloc", "sizeMiB": 32, "blockSize": 512 },
                "File0": { "type": "file", "path": "{{FilePath}}", "blockSize": 512, "create": true, "sizeMiB": {{FileBytes >> 20}} },
                "Malloc1": { "type": "malloc", "sizeMiB": 32, "blockSize": 4096 },
                "Malloc2": { "type": "malloc", "sizeMiB": 32, "blockSize": 512 },
                "Malloc3": { "type": "malloc", "sizeMiB": 32, "blockSize": 512 },
                "Slow0": { "type": "delay", "bdev": "Malloc2", "readAverageUs": 100, "readP99Us": 5000, "writeAverageUs": 200, "writeP99Us": 10000 },
                "Bad0": { "type": "error", "bdev": "Malloc3", "rules": [ { "operation": "all", "action": "fail", "status": "ioError", "percent": 5 } ] }
              },
              "transports": {
                "guest0": { "type": "vhost-user", "socket": "{{SocketOf(0)}}" }, "guest1": { "type": "vhost-user", "socket": "{{SocketOf(1)}}" },
                "guest2": { "type": "vhost-user", "socket": "{{SocketOf(2)}}" }, "guest3": { "type": "vhost-user", "socket": "{{SocketOf(3)}}" }
              },
              "controllers": {
                "{{ScsiController}}": { "type": "scsi", "transport": "guest0", "targets": { "0": "Malloc0", "1": "File0" } },
                "vhost.1": { "type": "blk", "transport": "guest1", "bdev": "Malloc1" },
                "vhost.2": { "type": "blk", "transport": "guest2", "bdev": "Slow0" },
                "vhost.3": { "type": "blk", "transport": "guest3", "bdev": "Bad0" }
              },
              "rpc": { "socket": "{{RpcSocket}}" }
            }
            """);
        var program = Path.Combine(Environment.GetEnvironmentVariable("VHOST_TEST_VHOSTD") ?? Metadata("VhostdDirectory"), "vhostd");
        _process = Process.Start(new ProcessStartInfo(program, ["run", manifest]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        _process.ErrorDataReceived += (_, line) =>
        {
            lock (_log)
            {
                _log.AppendLine(line.Data);
            }
        };
        _process.BeginErrorReadLine();
        using var limit = new CancellationTokenSource(Limit);
        var ready = _process.StandardOutput.ReadLineAsync(limit.Token).AsTask().GetAwaiter().GetResult();
        if (ready?.StartsWith("vhostd is ready", StringComparison.Ordinal) != true)
        {
            throw new InvalidOperationException($"vhostd did not start: {Log}");
        }
    }

    /// <summary>The file of File0.</summary>
    public string FilePath => Path.Combine(_directory.FullName, "disk.img");

    /// <summary>The RPC server's socket.</summary>
    public string RpcSocket => Path.Combine(_directory.FullName, "rpc.sock");

    /// <summary>Whether it runs.</summary>
    public bool IsRunning => !_process.HasExited;

    /// <summary>What it logged.</summary>
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

    /// <summary>A controller's socket.</summary>
    public string SocketOf(int controller) => Path.Combine(_directory.FullName, string.Create(CultureInfo.InvariantCulture, $"vhost.{controller}"));

    /// <summary>What the process has now.</summary>
    public Holdings Measure()
    {
        var status = File.ReadLines($"/proc/{_process.Id}/status").Select(line => line.Split(':', 2)).ToDictionary(parts => parts[0], parts => parts[1].Trim());
        return new Holdings(
            long.Parse(status["VmRSS"].Split(' ')[0], CultureInfo.InvariantCulture),
            Descriptors().Count,
            int.Parse(status["Threads"], CultureInfo.InvariantCulture));
    }

    /// <summary>What each descriptor is.</summary>
    public IReadOnlyList<string> Descriptors() =>
        [.. Directory.GetFileSystemEntries($"/proc/{_process.Id}/fd").Select(path => new FileInfo(path).LinkTarget ?? "").Where(target => target.Length > 0 && !target.EndsWith(".dll", StringComparison.Ordinal) && !target.EndsWith(".pdb", StringComparison.Ordinal))];

    /// <summary>Ends it as a service manager would.</summary>
    /// <returns>The exit code.</returns>
    public int Stop()
    {
        using (Process.Start("kill", ["-TERM", _process.Id.ToString(CultureInfo.InvariantCulture)]))
        {
        }

        return _process.WaitForExit(Limit) ? _process.ExitCode : throw new TimeoutException($"vhostd does not end: {Log}");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
            _process.WaitForExit();
        }

        _process.Dispose();
        _directory.Delete(recursive: true);
    }

    private static string Metadata(string key) =>
        typeof(SoakHost).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(attribute => attribute.Key == key).Value!;
}
