using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Vhost.EndToEnd.Tests.Harness;

/// <summary>A client of the QEMU Machine Protocol: one command at a time, events kept.</summary>
internal sealed class QmpClient : IDisposable
{
    private static readonly TimeSpan CommandTimeout = TimeSpan.FromSeconds(120);

    private readonly NetworkStream _stream;
    private readonly StreamReader _reader;
    private readonly SemaphoreSlim _commands = new(1);
    private readonly List<JsonObject> _events = [];

    private QmpClient(Socket connection)
    {
        _stream = new NetworkStream(connection, ownsSocket: true);
        _reader = new StreamReader(_stream, Encoding.UTF8);
    }

    /// <summary>Takes over a connection of QEMU's monitor and leaves its negotiation mode.</summary>
    public static async Task<QmpClient> ConnectAsync(Socket connection)
    {
        var client = new QmpClient(connection);
        using var bound = new CancellationTokenSource(CommandTimeout);
        await client.ReadAsync(bound.Token);
        await client.ExecuteAsync("qmp_capabilities");
        return client;
    }

    /// <summary>Executes a command and returns its result; an error of QEMU is thrown with its text.</summary>
    public async Task<JsonNode?> ExecuteAsync(string command, JsonObject? arguments = null)
    {
        var request = new JsonObject { ["execute"] = command };
        if (arguments is not null)
        {
            request["arguments"] = arguments;
        }

        using var bound = new CancellationTokenSource(CommandTimeout);
        await _commands.WaitAsync(bound.Token);
        try
        {
            await _stream.WriteAsync(Encoding.UTF8.GetBytes(request.ToJsonString() + "\n"), bound.Token);
            while (true)
            {
                JsonObject answer = await ReadAsync(bound.Token);
                if (answer["error"] is { } error)
                {
                    throw new EndToEndException($"QEMU refused {request.ToJsonString()}: {error["desc"]}");
                }

                if (answer.ContainsKey("return"))
                {
                    return answer["return"];
                }
            }
        }
        catch (OperationCanceledException)
        {
            throw new EndToEndException($"QEMU did not answer within {CommandTimeout.TotalSeconds:F0} s: {request.ToJsonString()}");
        }
        finally
        {
            _commands.Release();
        }
    }

    /// <summary>Waits for an event, one that came before included; it is taken from the list of those kept.</summary>
    public async Task<JsonObject> WaitForEventAsync(string name, TimeSpan timeout)
    {
        using var bound = new CancellationTokenSource(timeout);
        await _commands.WaitAsync(bound.Token);
        try
        {
            while (true)
            {
                int index = _events.FindIndex(e => (string?)e["event"] == name);
                if (index >= 0)
                {
                    JsonObject found = _events[index];
                    _events.RemoveAt(index);
                    return found;
                }

                await ReadAsync(bound.Token);
            }
        }
        catch (OperationCanceledException)
        {
            throw new EndToEndException($"QEMU sent no {name} within {timeout.TotalSeconds:F0} s");
        }
        finally
        {
            _commands.Release();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _reader.Dispose();
        _stream.Dispose();
        _commands.Dispose();
    }

    private async Task<JsonObject> ReadAsync(CancellationToken cancellation)
    {
        string line = await _reader.ReadLineAsync(cancellation) ?? throw new EndToEndException("QEMU closed its monitor");
        JsonObject message = JsonNode.Parse(line) as JsonObject ?? throw new JsonException($"not an object: {line}");
        if (message.ContainsKey("event"))
        {
            _events.Add(message);
        }

        return message;
    }
}
