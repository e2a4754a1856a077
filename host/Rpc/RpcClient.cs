using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Vhost.Linux;

namespace Vhost.Host.Rpc;

/// <summary>Makes one call.</summary>
internal static class RpcClient
{
    private const int MaxReplyBytes = 64 << 20;

    /// <summary>Calls a method.</summary>
    /// <param name="path">The socket.</param>
    /// <param name="method">The method.</param>
    /// <param name="parameters">Its <c>params</c>; empty for none.</param>
    /// <param name="cancellationToken">Bounds the wait.</param>
    /// <returns>The reply, with <c>result</c> or <c>error</c>.</returns>
    /// <exception cref="IOException">Nobody listens there, or the reply is none.</exception>
    internal static async Task<JsonObject> CallAsync(string path, string method, JsonObject parameters, CancellationToken cancellationToken)
    {
        var request = new JsonObject { ["jsonrpc"] = "2.0", ["method"] = method, ["id"] = 1 };
        if (parameters.Count > 0)
        {
            request["params"] = parameters.DeepClone();
        }

        if (path.Length == 0 || Encoding.UTF8.GetByteCount(path) > UnixSocket.MaxPathBytes)
        {
            throw new IOException($"\"{path}\" is no path of a socket: those have 1 to {UnixSocket.MaxPathBytes} bytes");
        }

        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        var reply = new MemoryStream();
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellationToken).ConfigureAwait(false);
            await socket.SendAsync(Encoding.UTF8.GetBytes(request.ToJsonString()), cancellationToken).ConfigureAwait(false);
            var scanner = default(JsonTextScanner);
            var buffer = new byte[65536];
            while (true)
            {
                var received = await socket.ReceiveAsync(buffer, cancellationToken).ConfigureAwait(false);
                if (received == 0)
                {
                    throw new IOException("the connection was closed before the reply: too many clients, or vhostd stopped");
                }

                var result = scanner.Scan(buffer.AsSpan(0, received), out var consumed);
                reply.Write(buffer, 0, consumed);
                if (result == ScanResult.Complete)
                {
                    break;
                }

                if (result == ScanResult.Invalid || reply.Length > MaxReplyBytes)
                {
                    throw new IOException("the reply is no JSON-RPC");
                }
            }

            return JsonNode.Parse(reply.ToArray()) as JsonObject ?? throw new IOException("the reply is no JSON-RPC");
        }
        catch (SocketException exception)
        {
            throw new IOException($"{path}: {Describe(exception)}; is vhostd running with --rpc-socket {path}?", exception);
        }
        catch (JsonException exception)
        {
            throw new IOException("the reply is no JSON", exception);
        }
    }

    // The runtime's own texts are those of network addresses.
    private static string Describe(SocketException exception) => exception.SocketErrorCode switch
    {
        SocketError.AddressNotAvailable => "there is no such socket",
        SocketError.ConnectionRefused => "nobody listens on the socket any more",
        SocketError.AccessDenied => "permission denied, as the socket belongs to the user that runs vhostd",
        _ => exception.Message,
    };
}
