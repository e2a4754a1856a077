using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Vhost.Testing.FrontEnd;

namespace Vhost.Bench;

/// <summary>A vhost-user server in a process of its own, which ends with this object. Control thread only.</summary>
internal sealed partial class ServerProcess : IDisposable
{
    private const int SIGSTOP = 19; // asm-generic/signal.h
    private const int SIGCONT = 18; // asm-generic/signal.h
    private const int SIGTERM = 15; // asm-generic/signal.h
    private const double ClockTicksPerSecond = 100; // USER_HZ, which the kernel keeps at 100 for /proc

    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan StopLimit = TimeSpan.FromSeconds(60);

    private readonly Process _process;
    private readonly List<string> _lines = [];

    private ServerProcess(Process process) => _process = process;

    /// <summary>Its process id.</summary>
    public int Id => _process.Id;

    /// <summary>What it wrote so far.</summary>
    public string Log
    {
        get
        {
            lock (_lines)
            {
                return string.Join('\n', _lines);
            }
        }
    }

    /// <summary>Time from the start of the process to its last socket.</summary>
    public TimeSpan StartTime { get; private set; }

    /// <summary>CPU time of all its threads so far; the kernel counts in steps of 10 ms.</summary>
    public TimeSpan CpuTime
    {
        get
        {
            // Fields 14 and 15 of the line; the second field is the name, in parentheses, and may hold anything.
            var line = File.ReadAllText($"/proc/{_process.Id}/stat");
            var fields = line[(line.LastIndexOf(')') + 2)..].Split(' ');
            return TimeSpan.FromSeconds((Parse(fields[11]) + Parse(fields[12])) / ClockTicksPerSecond);
        }
    }

    /// <summary>Resident memory of its own now, in bytes: without what guests share with it.</summary>
    public long ResidentBytes
    {
        get
        {
            long Read(string name) => File.ReadLines($"/proc/{_process.Id}/status")
                .Where(line => line.StartsWith(name, StringComparison.Ordinal))
                .Select(line => (long)Parse(line.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries)[1]) * 1024)
                .Single();
            return Read("VmRSS:") - Read("RssShmem:");
        }
    }

    /// <summary>Starts a server and waits until its sockets are there.</summary>
    /// <param name="program">The program.</param>
    /// <param name="arguments">Its arguments.</param>
    /// <param name="sockets">What it has to serve.</param>
    /// <exception cref="FrontEndException">It ended, or its sockets did not come; the message has what it wrote.</exception>
    public static ServerProcess Start(string program, IEnumerable<string> arguments, params IReadOnlyList<string> sockets)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        var begin = Stopwatch.GetTimestamp();
        var server = new ServerProcess(Process.Start(start)!);
        server._process.OutputDataReceived += (_, line) => server.Note(line.Data);
        server._process.ErrorDataReceived += (_, line) => server.Note(line.Data);
        server._process.BeginOutputReadLine();
        server._process.BeginErrorReadLine();
        while (!IsListening(sockets))
        {
            if (server._process.HasExited || Stopwatch.GetElapsedTime(begin) > StartLimit)
            {
                var log = server.Log;
                server.Dispose();
                throw new FrontEndException($"{program} does not serve: {log}");
            }

            Thread.Sleep(1);
        }

        server.StartTime = Stopwatch.GetElapsedTime(begin);
        return server;
    }

    /// <summary>Stops its threads where they are, so that it takes no CPU from another server.</summary>
    public void Pause() => Signal(SIGSTOP);

    /// <summary>Ends <see cref="Pause"/>.</summary>
    public void Resume() => Signal(SIGCONT);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_process.HasExited)
        {
            Signal(SIGCONT);
            Signal(SIGTERM);
            if (!_process.WaitForExit(StopLimit))
            {
                _process.Kill();
                _process.WaitForExit();
            }
        }

        _process.Dispose();
    }

    // A socket's file is there before somebody listens on it.
    private static bool IsListening(IReadOnlyList<string> sockets)
    {
        const string AcceptsConnections = "00010000"; // __SO_ACCEPTCON in the flags of proc_net_unix(5)
        if (!sockets.All(File.Exists))
        {
            return false;
        }

        var listening = File.ReadLines("/proc/net/unix").Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Where(fields => fields.Length == 8 && fields[3] == AcceptsConnections).Select(fields => fields[7]).ToHashSet(StringComparer.Ordinal);
        return sockets.All(listening.Contains);
    }

    private static double Parse(string text) => double.Parse(text, CultureInfo.InvariantCulture);

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);

    private void Signal(int signal) => _ = Kill(_process.Id, signal);

    private void Note(string? line)
    {
        if (line is not null)
        {
            lock (_lines)
            {
                _lines.Add(line);
            }
        }
    }
}
