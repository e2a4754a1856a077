using System.Collections.Concurrent;
using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>What a command did in the guest.</summary>
/// <param name="ExitCode">Its exit code.</param>
/// <param name="Output">What it wrote to standard output and standard error.</param>
internal sealed record CommandResult(int ExitCode, string Output);

/// <summary>The host's end of the line protocol that <c>tests/guest/init</c> describes.</summary>
internal sealed class GuestAgent : IDisposable
{
    private readonly NetworkStream _stream;
    private readonly ConcurrentDictionary<int, TaskCompletionSource<CommandResult>> _pending = new();
    private readonly SemaphoreSlim _sending = new(1);
    private readonly Lock _readyLock = new();
    private TaskCompletionSource<string> _ready = NewReady();
    private int _lastId;

    /// <summary>Takes over a connection of the guest's serial port.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="firstId">Where the numbers of its commands begin: a guest that was migrated has those of its former agent.</param>
    public GuestAgent(Socket connection, int firstId = 0)
    {
        _lastId = firstId;
        _stream = new NetworkStream(connection, ownsSocket: true);
        _ = Task.Run(ReceiveAsync);
    }

    /// <summary>Completes with the READY line of the guest's init: at once if the guest is up.</summary>
    public Task<string> Ready
    {
        get
        {
            lock (_readyLock)
            {
                return _ready.Task;
            }
        }
    }

    /// <summary>Forgets that the guest was ready, because it is about to start again.</summary>
    public void ExpectStart()
    {
        lock (_readyLock)
        {
            if (_ready.Task.IsCompleted)
            {
                _ready = NewReady();
            }
        }
    }

    /// <summary>Runs a shell command; any number may run at the same time.</summary>
    public async Task<CommandResult> RunAsync(string command, TimeSpan timeout)
    {
        int id = Interlocked.Increment(ref _lastId);
        var completion = new TaskCompletionSource<CommandResult>(TaskCreationOptions.RunContinuationsAsynchronously);
        _pending[id] = completion;
        byte[] line = Encoding.ASCII.GetBytes($"RUN {id} {Convert.ToBase64String(Encoding.UTF8.GetBytes(command))}\n");
        using var bound = new CancellationTokenSource(timeout);
        try
        {
            await _sending.WaitAsync(bound.Token);
            try
            {
                await _stream.WriteAsync(line, bound.Token);
            }
            finally
            {
                _sending.Release();
            }

            return await completion.Task.WaitAsync(bound.Token);
        }
        catch (OperationCanceledException) when (bound.IsCancellationRequested)
        {
            throw new EndToEndException($"the guest did not finish within {timeout.TotalSeconds:F0} s: {command}");
        }
        finally
        {
            _pending.TryRemove(id, out _);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _stream.Dispose();
        _sending.Dispose();
    }

    private static TaskCompletionSource<string> NewReady() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private async Task ReceiveAsync()
    {
        Exception end;
        try
        {
            using var reader = new StreamReader(_stream, Encoding.ASCII);
            while (await reader.ReadLineAsync() is { } line)
            {
                Receive(line);
            }

            end = new EndToEndException("QEMU closed the guest's serial port");
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or FormatException)
        {
            end = new EndToEndException($"the guest's serial port failed: {e.Message}", e);
        }

        lock (_readyLock)
        {
            _ready.TrySetException(end);
            _ = _ready.Task.Exception;
        }

        foreach (TaskCompletionSource<CommandResult> completion in _pending.Values)
        {
            completion.TrySetException(end);
        }
    }

    private void Receive(string line)
    {
        string[] words = line.Split(' ');
        switch (words)
        {
            case ["READY", ..]:
                lock (_readyLock)
                {
                    _ready.TrySetResult(line);
                }

                break;
            case ["DONE", var id, var code, var output] when _pending.TryGetValue(int.Parse(id, CultureInfo.InvariantCulture), out var completion):
                completion.TrySetResult(new CommandResult(
                    int.Parse(code, CultureInfo.InvariantCulture),
                    Encoding.UTF8.GetString(Convert.FromBase64String(output))));
                break;
        }
    }
}
