using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;

namespace Vhost.Rpc.Tests;

/// <summary>Sends bytes as they are, and reads replies as lines.</summary>
internal sealed class Client : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(120);

    private readonly StringBuilder _rest = new();

    public Client(string path)
    {
        Socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        Socket.Connect(new UnixDomainSocketEndPoint(path));
    }

    public Socket Socket { get; }

    public Task SendAsync(string text) => SendAsync(Encoding.UTF8.GetBytes(text));

    public async Task SendAsync(ReadOnlyMemory<byte> bytes)
    {
        using var limit = new CancellationTokenSource(Limit);
        for (var sent = 0; sent < bytes.Length;)
        {
            sent += await Socket.SendAsync(bytes[sent..], limit.Token);
        }
    }

    /// <summary>The next reply without its newline, or null at the end.</summary>
    public async Task<string?> ReceiveAsync()
    {
        using var limit = new CancellationTokenSource(Limit);
        var buffer = new byte[65536];
        while (true)
        {
            var text = _rest.ToString();
            if (text.IndexOf('\n', StringComparison.Ordinal) is var end and >= 0)
            {
                _rest.Remove(0, end + 1);
                return text[..end];
            }

            int received;
            try
            {
                received = await Socket.ReceiveAsync(buffer, limit.Token);
            }
            catch (SocketException)
            {
                // Closed by the server with bytes of ours unread.
                received = 0;
            }

            if (received == 0)
            {
                return null;
            }

            _rest.Append(Encoding.UTF8.GetString(buffer, 0, received));
        }
    }

    public async Task<string?> ExchangeAsync(string text)
    {
        await SendAsync(text);
        return await ReceiveAsync();
    }

    public async Task<JsonObject> CallAsync(string method, JsonObject? parameters = null)
    {
        var request = new JsonObject { ["jsonrpc"] = "2.0", ["id"] = 7, ["method"] = method };
        if (parameters is not null)
        {
            request["params"] = parameters;
        }

        var reply = JsonNode.Parse((await ExchangeAsync(request.ToJsonString()))!)!.AsObject();
        Assert.Equal(7, reply["id"]!.GetValue<int>());
        return reply;
    }

    public async Task<JsonNode?> ResultAsync(string method, JsonObject? parameters = null)
    {
        var reply = await CallAsync(method, parameters);
        Assert.True(reply.ContainsKey("result"), reply.ToJsonString());
        return reply["result"];
    }

    public async Task<string> ErrorAsync(string method, JsonObject? parameters = null)
    {
        var reply = await CallAsync(method, parameters);
        Assert.True(reply.ContainsKey("error"), reply.ToJsonString());
        return $"{reply["error"]!["code"]} {reply["error"]!["message"]}";
    }

    public void Dispose() => Socket.Dispose();
}
