using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Vhost.Testing.FrontEnd;

namespace Vhost.Bench;

/// <summary>Calls a server by JSON-RPC over a unix socket, in SPDK's framing: bare JSON both ways.</summary>
internal static class RpcSocket
{
    private const int LimitMilliseconds = 60_000;

    /// <summary>Calls a method and waits for its result.</summary>
    /// <param name="path">The socket; it may not listen yet.</param>
    /// <param name="method">The method.</param>
    /// <param name="parameters">Its parameters, or null.</param>
    /// <exception cref="FrontEndException">There is no answer, or it is an error.</exception>
    public static JsonNode Call(string path, string method, JsonObject? parameters = null)
    {
        var request = new JsonObject { ["jsonrpc"] = "2.0", ["method"] = method, ["id"] = 1 };
        if (parameters is not null)
        {
            request["params"] = parameters;
        }

        using var socket = Connect(path, method);
        try
        {
            socket.Send(Encoding.UTF8.GetBytes(request.ToJsonString()));
            var reply = new StringBuilder();
            var buffer = new byte[65536];
            while (true)
            {
                var count = socket.Receive(buffer);
                reply.Append(Encoding.UTF8.GetString(buffer, 0, count));
                if (count == 0 || TryParse(reply.ToString()) is not null)
                {
                    return TryParse(reply.ToString())?["result"] ?? throw new FrontEndException($"{method} failed: {reply}");
                }
            }
        }
        catch (SocketException exception)
        {
            throw new FrontEndException($"{method} was not answered: {exception.Message}");
        }
    }

    private static Socket Connect(string path, string method)
    {
        // The controllers' sockets may be there before this one listens.
        for (var begin = Stopwatch.GetTimestamp(); ;)
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = LimitMilliseconds };
            try
            {
                socket.Connect(new UnixDomainSocketEndPoint(path));
                return socket;
            }
            catch (SocketException exception)
            {
                socket.Dispose();
                if (Stopwatch.GetElapsedTime(begin).TotalMilliseconds > LimitMilliseconds)
                {
                    throw new FrontEndException($"{method} was not answered: {exception.Message}");
                }

                Thread.Sleep(5);
            }
        }
    }

    private static JsonNode? TryParse(string text)
    {
        try
        {
            return JsonNode.Parse(text);
        }
        catch (JsonException)
        {
            return null; // not whole yet
        }
    }
}
