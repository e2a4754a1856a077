using System.Collections;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Host.Manifest;
using Vhost.Host.Rpc;
using Vhost.Host.Wiring;

namespace Vhost.Fuzz.Tests.Targets;

/// <summary>JSON-RPC over the real socket: known methods with right and wrong parameters, batches, broken JSON, pieces of requests. A running host does what it is asked.</summary>
internal sealed class RpcTarget : IFuzzTarget
{
    private const int WaitMilliseconds = 60_000;
    private const string GoodRequest = """{"jsonrpc":"2.0","id":"good","method":"vhost_get_controllers"}""";

    // These end the process, wait, or read files; what they do is tested elsewhere.
    private static readonly string[] Excluded = ["spdk_kill_instance", "kill_instance", "framework_wait_init", "wait_subsystem_init", "load_config", "load_subsystem_config", "apply"];

    private static readonly string[] Values =
    [
        "\"Malloc0\"", "\"Malloc1\"", "\"vhost.0\"", "\"vhost.1\"", "0", "1", "-1", "512", "4096", "1024", "8", "null", "true", "\"\"", "\"a b\"", "1e99", "-0.5", "[]", "{}", "[1]",
        "\"\\u0000\"", "18446744073709551616", "\"0x1\"",
    ];

    private static readonly string[] Keys =
        ["name", "num_blocks", "block_size", "ctrlr", "scsi_target_num", "bdev_name", "dev_name", "cpumask", "readonly", "uuid", "filename", "size_in_mb", "new_size", "timeout", "enable"];

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("fuzz");
    private readonly VhostHost _host = new(NullLoggerFactory.Instance);
    private readonly RpcServer _server;
    private readonly string _socket;
    private readonly string[] _methods;

    public RpcTarget()
    {
        _socket = Path.Combine(_directory.FullName, "rpc.sock");
        var file = Path.Combine(_directory.FullName, "m.json");
        File.WriteAllText(file, $$"""{ "rpc": { "defaultTransport": { "type": "vhost-user", "socket": "{{_directory.FullName}}/{controller}" } } }""");
        var manifest = ManifestReader.Read(new ManifestRequest(file) { Environment = new Hashtable(), PluginDirectories = [BuiltPlugins.Directory] }).Manifest!;
        _host.StartAsync(manifest, CancellationToken.None).GetAwaiter().GetResult();
        var surface = new RpcSurface(new RpcContext(_host, new LiveGraph(_host, manifest), static _ => { }));
        _server = new RpcServer(_socket, surface, new RpcLimits(), NullLogger.Instance);
        _server.Start();
        using var client = Connect();
        Send(client, """{"jsonrpc":"2.0","id":1,"method":"rpc_get_methods"}"""u8);
        _methods = [.. ReadReply(client)!["result"]!.AsArray().Select(name => (string)name!).Except(Excluded, StringComparer.Ordinal)];
    }

    /// <inheritdoc/>
    public ulong Run(FuzzInput input)
    {
        var seen = new Seen();
        using (var client = Connect())
        {
            var text = new StringBuilder();
            while (!input.IsEmpty)
            {
                Request(input, text);
            }

            var bytes = Encoding.UTF8.GetBytes(text.ToString());
            try
            {
                // Cut anywhere: the server puts pieces together.
                for (var sent = 0; sent < bytes.Length;)
                {
                    var length = Math.Min(bytes.Length - sent, 1 + input.Below(4096) + (int)(input.Raw() & 4095));
                    Send(client, bytes.AsSpan(sent, length));
                    sent += length;
                }

                client.Shutdown(SocketShutdown.Send);
                while (ReadReply(client) is { } reply)
                {
                    foreach (var one in reply as JsonArray ?? [reply.DeepClone()])
                    {
                        Check(one!, seen);
                    }
                }
            }
            catch (SocketException)
            {
                // The server has had enough of it.
                seen.Add("closed");
            }
        }

        using var next = Connect();
        Send(next, Encoding.UTF8.GetBytes(GoodRequest));
        return (string?)ReadReply(next)?["id"] == "good" ? seen.Value : throw new InvalidOperationException("the next client is not served");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _server.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _host.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _directory.Delete(recursive: true);
    }

    private static void Check(JsonNode reply, Seen seen)
    {
        var error = reply["error"];
        if (error is null == reply.AsObject().ContainsKey("error") || error is not null == reply.AsObject().ContainsKey("result"))
        {
            throw new InvalidOperationException($"neither a result nor an error: {reply.ToJsonString()}");
        }

        var data = error?["data"]?.ToString() ?? "";
        if (data.Contains("   at ", StringComparison.Ordinal) || data.Contains("Exception", StringComparison.Ordinal))
        {
            throw new InvalidOperationException($"an unexpected fault: {data}");
        }

        seen.Add($"{error?["message"]} {(char)('a' + (Math.Abs((int?)error?["code"] ?? 0) % 26))} {data.Split('\'')[0]}");
    }

    private static void Send(Socket client, ReadOnlySpan<byte> bytes)
    {
        for (var sent = 0; sent < bytes.Length;)
        {
            sent += client.Send(bytes[sent..]);
        }
    }

    private static JsonNode? ReadReply(Socket client)
    {
        var line = new List<byte>();
        Span<byte> one = stackalloc byte[1];
        while (client.Receive(one) == 1)
        {
            if (one[0] == (byte)'\n')
            {
                return JsonNode.Parse(line.ToArray());
            }

            line.Add(one[0]);
        }

        return null;
    }

    private Socket Connect()
    {
        var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = WaitMilliseconds, SendTimeout = WaitMilliseconds };
        client.Connect(new UnixDomainSocketEndPoint(_socket));
        return client;
    }

    private void Request(FuzzInput input, StringBuilder text)
    {
        switch (input.Below(24))
        {
            case 0:
                text.Append(Encoding.Latin1.GetString(input.Bytes(1 + input.Below(40))));
                return;
            case 1:
                text.Append(input.Of("[", "{", "]", "}", "[[[[", ",", "\"", "null", "{}", "[]", " \n\t"));
                return;
            case 2:
                text.Append('[');
                One(input, text);
                text.Append(',');
                One(input, text);
                text.Append(']');
                return;
            default:
                One(input, text);
                return;
        }
    }

    private void One(FuzzInput input, StringBuilder text)
    {
        text.Append("{\"jsonrpc\":").Append(input.Once(24) ? "\"1.0\"" : "\"2.0\"").Append(",\"id\":").Append(input.Once(12) ? input.Of(Values) : "1");
        text.Append(",\"method\":\"").Append(input.Once(24) ? "nothing" : _methods[input.Below(_methods.Length)]).Append('"');
        if (!input.Once(8))
        {
            text.Append(",\"params\":{");
            var count = input.Below(5);
            for (var i = 0; i < count; i++)
            {
                text.Append(i > 0 ? "," : "").Append('"').Append(input.Of(Keys)).Append("\":").Append(input.Of(Values));
            }

            text.Append('}');
        }

        text.Append('}');
    }
}
